package vn.hue.lake.flink;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The newest readings of one entity in order of event time: one line per reading, of each tested field its value and
 * what later tests must know of it. Kept in Flink's state as bytes, since the framework would box every number of an array.
 */
final class ReadingHistory {

    /** No value, or one that failed its gross range: it stands for nothing. */
    static final byte UNUSABLE = 1;
    /** A spike or a jump: no reading may be compared with it, but it shows that the sensor moves. */
    static final byte OUTLIER = 2;
    /** No value at all. */
    static final byte ABSENT = 4;

    /** More than the compiler of the tests asks for; a sensor that sends too often forgets its oldest readings sooner. */
    static final int MAX_READINGS = 512;

    private final int fields;
    private int size;
    private long[] atMillis;
    private int[] revisions;
    private long[] values;
    private byte[] marks;

    private ReadingHistory(int fields, int size) {
        this.fields = fields;
        this.size = size;
        atMillis = new long[size + 1];
        revisions = new int[size + 1];
        values = new long[(size + 1) * fields];
        marks = new byte[(size + 1) * fields];
    }

    /** Reads what {@link #toBytes} wrote; NULL is an empty history. */
    static ReadingHistory of(byte[] bytes, int fields) {
        int count = bytes == null ? 0 : bytes.length / width(fields);
        ReadingHistory history = new ReadingHistory(fields, count);
        ByteBuffer buffer = ByteBuffer.wrap(bytes == null ? new byte[0] : bytes);
        for (int i = 0; i < count; i++) {
            history.atMillis[i] = buffer.getLong();
            history.revisions[i] = buffer.getInt();
            for (int f = i * fields; f < (i + 1) * fields; f++) {
                history.values[f] = buffer.getLong();
                history.marks[f] = buffer.get();
            }
        }
        return history;
    }

    private static int width(int fields) {
        return Long.BYTES + Integer.BYTES + fields * (Long.BYTES + 1);
    }

    byte[] toBytes() {
        ByteBuffer buffer = ByteBuffer.allocate(size * width(fields));
        for (int i = 0; i < size; i++) {
            buffer.putLong(atMillis[i]).putInt(revisions[i]);
            for (int f = i * fields; f < (i + 1) * fields; f++) {
                buffer.putLong(values[f]).put(marks[f]);
            }
        }
        return buffer.array();
    }

    int size() {
        return size;
    }

    long atMillis(int index) {
        return atMillis[index];
    }

    long value(int index, int field) {
        return values[index * fields + field];
    }

    boolean is(int index, int field, int mark) {
        return (marks[index * fields + field] & mark) != 0;
    }

    /** How many readings are older than this time. */
    int before(long millis) {
        int found = Arrays.binarySearch(atMillis, 0, size, millis);
        return found < 0 ? -found - 1 : found;
    }

    /**
     * Adds a reading at its place; one of the same time is replaced, unless the source's revision number says that it is
     * newer.
     */
    void put(long millis, int revision, long[] newValues, byte[] newMarks) {
        int place = before(millis);
        boolean isKnown = place < size && atMillis[place] == millis;
        if (isKnown && revisions[place] > revision) {
            return;
        }
        if (!isKnown) {
            System.arraycopy(atMillis, place, atMillis, place + 1, size - place);
            System.arraycopy(revisions, place, revisions, place + 1, size - place);
            System.arraycopy(values, place * fields, values, (place + 1) * fields, (size - place) * fields);
            System.arraycopy(marks, place * fields, marks, (place + 1) * fields, (size - place) * fields);
            size++;
        }
        atMillis[place] = millis;
        revisions[place] = revision;
        System.arraycopy(newValues, 0, values, place * fields, fields);
        System.arraycopy(newMarks, 0, marks, place * fields, fields);
    }

    /** Forgets what is older than this time, and the oldest of more than {@link #MAX_READINGS}; the newest stays. */
    void forgetBefore(long millis) {
        int dropped = Math.min(Math.max(before(millis), size - MAX_READINGS), size - 1);
        if (dropped <= 0) {
            return;
        }
        size -= dropped;
        atMillis = Arrays.copyOfRange(atMillis, dropped, dropped + size);
        revisions = Arrays.copyOfRange(revisions, dropped, dropped + size);
        values = Arrays.copyOfRange(values, dropped * fields, (dropped + size) * fields);
        marks = Arrays.copyOfRange(marks, dropped * fields, (dropped + size) * fields);
    }
}
