package vn.hue.lake.flink;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Decides whether a row is the first of its reading, a repetition or a correction. Plain Java: no clock, no Flink.
 *
 * <p>A reading's first row, or one that arrives more than {@code horizonMillis} after it, is accepted and starts the
 * memory of it anew. Otherwise, by the source's revision number:
 *
 * <ul>
 *   <li>lower than the latest: {@code duplicate} (the source itself has replaced it);
 *   <li>equal: {@code duplicate} if this content came before at this revision, else {@code corrected};
 *   <li>higher: {@code duplicate} if the content is still the latest one, else {@code corrected}.
 * </ul>
 *
 * <p>Ages are differences of arrival clocks, never of the machine's: a rebuild from the raw topic decides the same.
 *
 * <p>The memory of several readings is one array of entries of {@value #ENTRY} bytes, in the order in which they came: an
 * instant (microseconds since 1970), the arrival clock of the first row (milliseconds since 1970), the highest revision
 * and the hash of one content seen at that revision. It lies in Flink's state as it is: decoding it into objects cost
 * more than looking through it.
 */
final class DispositionLogic {

    /** What became of a row. */
    enum Disposition {
        ON_TIME("on_time"),
        LATE("late"),
        CORRECTED("corrected"),
        DUPLICATE("duplicate");

        private final String text;

        Disposition(String text) {
            this.text = text;
        }

        String text() {
            return text;
        }
    }

    /**
     * What is remembered of some readings of one entity. An array is never changed, it is replaced.
     *
     * <p>One that has come to {@value #CROWD} entries takes no further readings, and says so for good by its first entry:
     * they are remembered elsewhere, and would be new again here once a replaced content made room.
     */
    static final class Memory {

        /** The entries, as {@link DispositionLogic} says; empty: none was seen. */
        byte[] readings;

        /** Reads what lay in the state; NULL is an empty memory. */
        Memory(byte[] stored) {
            readings = stored == null ? NONE : stored;
        }

        /** Whether only readings that it knows belong here. */
        boolean isCrowded() {
            return readings.length > 0 && (long) LONGS.get(readings, 0) == CROWDED;
        }

        /** Whether a reading of this instant is remembered here. */
        boolean knows(long instantMicros) {
            return first(instantMicros) >= 0;
        }

        /** How many contents are remembered. */
        int size() {
            return readings.length / ENTRY - (isCrowded() ? 1 : 0);
        }

        /** The position of the first entry of an instant, -1 without one. */
        private int first(long instantMicros) {
            for (int at = 0; at < readings.length; at += ENTRY) {
                if ((long) LONGS.get(readings, at) == instantMicros) {
                    return at;
                }
            }
            return -1;
        }

        private void append(long instantMicros, long firstSeenMillis, int revision, long content) {
            boolean becomesCrowded = !isCrowded() && size() + 1 >= CROWD;
            int shift = becomesCrowded ? ENTRY : 0;
            byte[] longer = new byte[shift + readings.length + ENTRY];
            if (becomesCrowded) {
                LONGS.set(longer, 0, CROWDED);
            }
            System.arraycopy(readings, 0, longer, shift, readings.length);
            int at = longer.length - ENTRY;
            LONGS.set(longer, at, instantMicros);
            LONGS.set(longer, at + FIRST_SEEN, firstSeenMillis);
            LONGS.set(longer, at + CONTENT, content);
            INTS.set(longer, at + REVISION, revision);
            readings = longer;
        }

        /** Forgets the oldest entries of an instant, at most so many. */
        private void forget(long instantMicros, int most) {
            byte[] others = new byte[readings.length];
            int length = 0;
            int left = most;
            for (int at = 0; at < readings.length; at += ENTRY) {
                if (left > 0 && (long) LONGS.get(readings, at) == instantMicros) {
                    left--;
                    continue;
                }
                System.arraycopy(readings, at, others, length, ENTRY);
                length += ENTRY;
            }
            readings = Arrays.copyOf(others, length);
        }
    }

    /** More contents of one revision than any source sends on purpose; the oldest is forgotten. */
    static final int MAX_CONTENTS = 16;

    static final int ENTRY = 3 * Long.BYTES + Integer.BYTES;

    /** Entries that share an array; twice to four times what the blocks of the contracts' cadences come to. */
    static final int CROWD = 128;

    /** Stands for an instant in the first entry of a crowded array; no instant is this one. */
    private static final long CROWDED = Long.MIN_VALUE;

    private static final byte[] NONE = new byte[0];
    private static final int FIRST_SEEN = Long.BYTES;
    private static final int CONTENT = 2 * Long.BYTES;
    private static final int REVISION = 3 * Long.BYTES;
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);
    private static final VarHandle INTS = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);

    private DispositionLogic() {}

    /** Classifies one row and updates the memory. */
    static Disposition decide(
            Memory memory,
            long instantMicros,
            int revision,
            long content,
            long receivedAtMillis,
            boolean isLate,
            long horizonMillis) {
        int first = memory.first(instantMicros);
        if (first < 0) {
            memory.append(instantMicros, receivedAtMillis, revision, content);
            return isLate ? Disposition.LATE : Disposition.ON_TIME;
        }
        byte[] readings = memory.readings;
        long firstSeenMillis = (long) LONGS.get(readings, first + FIRST_SEEN);
        if (receivedAtMillis - firstSeenMillis > horizonMillis) {
            memory.forget(instantMicros, Integer.MAX_VALUE);
            memory.append(instantMicros, receivedAtMillis, revision, content);
            return isLate ? Disposition.LATE : Disposition.ON_TIME;
        }
        int known = (int) INTS.get(readings, first + REVISION);
        if (revision < known) {
            return Disposition.DUPLICATE;
        }
        int count = 0;
        boolean isSeen = false;
        long latest = 0;
        for (int at = first; at < readings.length; at += ENTRY) {
            if ((long) LONGS.get(readings, at) == instantMicros) {
                latest = (long) LONGS.get(readings, at + CONTENT);
                isSeen |= latest == content;
                count++;
            }
        }
        if (revision > known) {
            memory.forget(instantMicros, Integer.MAX_VALUE);
            memory.append(instantMicros, firstSeenMillis, revision, content);
            return latest == content ? Disposition.DUPLICATE : Disposition.CORRECTED;
        }
        if (isSeen) {
            return Disposition.DUPLICATE;
        }
        if (count == MAX_CONTENTS) {
            memory.forget(instantMicros, 1);
        }
        memory.append(instantMicros, firstSeenMillis, revision, content);
        return Disposition.CORRECTED;
    }
}
