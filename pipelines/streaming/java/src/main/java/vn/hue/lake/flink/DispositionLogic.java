package vn.hue.lake.flink;

import java.io.Serializable;
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

    /** What is remembered of some readings of one entity, as it goes in and comes out of a decision. */
    static final class Memory implements Serializable {

        private static final long serialVersionUID = 1L;

        /** The entries, as the class says; NULL: none was seen. An array is never changed, it is replaced. */
        byte[] readings;
    }

    /** More contents of one revision than any source sends on purpose; the oldest is forgotten. */
    static final int MAX_CONTENTS = 16;

    static final int ENTRY = 3 * Long.BYTES + Integer.BYTES;

    private static final int FIRST_SEEN = Long.BYTES;
    private static final int CONTENT = 2 * Long.BYTES;
    private static final int REVISION = 3 * Long.BYTES;
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.BIG_ENDIAN);
    private static final VarHandle INTS = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);

    private DispositionLogic() {}

    /** Whether a reading of this instant is remembered here. */
    static boolean knows(byte[] readings, long instantMicros) {
        return readings != null && first(readings, instantMicros) >= 0;
    }

    /** How many contents are remembered. */
    static int size(byte[] readings) {
        return readings == null ? 0 : readings.length / ENTRY;
    }

    /** Classifies one row and updates the memory. */
    static Disposition decide(
            Memory memory,
            long instantMicros,
            int revision,
            long content,
            long receivedAtMillis,
            boolean isLate,
            long horizonMillis) {
        byte[] readings = memory.readings;
        int first = readings == null ? -1 : first(readings, instantMicros);
        if (first < 0) {
            memory.readings = appended(readings, instantMicros, receivedAtMillis, revision, content);
            return isLate ? Disposition.LATE : Disposition.ON_TIME;
        }
        long firstSeenMillis = (long) LONGS.get(readings, first + FIRST_SEEN);
        if (receivedAtMillis - firstSeenMillis > horizonMillis) {
            byte[] others = without(readings, instantMicros);
            memory.readings = appended(others, instantMicros, receivedAtMillis, revision, content);
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
            byte[] others = without(readings, instantMicros);
            memory.readings = appended(others, instantMicros, firstSeenMillis, revision, content);
            return latest == content ? Disposition.DUPLICATE : Disposition.CORRECTED;
        }
        if (isSeen) {
            return Disposition.DUPLICATE;
        }
        byte[] kept = count < MAX_CONTENTS ? readings : cut(readings, first);
        memory.readings = appended(kept, instantMicros, firstSeenMillis, revision, content);
        return Disposition.CORRECTED;
    }

    /** The position of the first entry of an instant, -1 without one. */
    private static int first(byte[] readings, long instantMicros) {
        for (int at = 0; at < readings.length; at += ENTRY) {
            if ((long) LONGS.get(readings, at) == instantMicros) {
                return at;
            }
        }
        return -1;
    }

    private static byte[] appended(
            byte[] readings, long instantMicros, long firstSeenMillis, int revision, long content) {
        int at = readings == null ? 0 : readings.length;
        byte[] longer = readings == null ? new byte[ENTRY] : Arrays.copyOf(readings, at + ENTRY);
        LONGS.set(longer, at, instantMicros);
        LONGS.set(longer, at + FIRST_SEEN, firstSeenMillis);
        LONGS.set(longer, at + CONTENT, content);
        INTS.set(longer, at + REVISION, revision);
        return longer;
    }

    /** A new array without the entry at this position. */
    private static byte[] cut(byte[] readings, int position) {
        byte[] shorter = Arrays.copyOf(readings, readings.length - ENTRY);
        System.arraycopy(readings, position + ENTRY, shorter, position, shorter.length - position);
        return shorter;
    }

    /** A new array without the entries of this instant. */
    private static byte[] without(byte[] readings, long instantMicros) {
        byte[] others = new byte[readings.length];
        int length = 0;
        for (int at = 0; at < readings.length; at += ENTRY) {
            if ((long) LONGS.get(readings, at) != instantMicros) {
                System.arraycopy(readings, at, others, length, ENTRY);
                length += ENTRY;
            }
        }
        return Arrays.copyOf(others, length);
    }
}
