package vn.hue.lake.flink;

import java.util.Arrays;

/**
 * The readings of one entity in the order of event time, as one array of numbers that Flink's state holds as it is.
 *
 * <p>A reading has a time, a tag that tells several sensors of one entity apart (0 where there is one), the arrival
 * clock, its origin and {@code width} measured values. The order is that of time, then tag; a place is held by one
 * reading, and one that comes again replaces it. What a row says is a function of the readings that are held, never of
 * the order in which they came: that is why a late reading, a rebuilt job and an undisturbed one end with equal rows.
 *
 * <p>Plain Java. Every change makes a new array, since the framework compares the state with what it read.
 */
final class Series {

    /** A value that is not known, or that quality control refused. */
    static final long MISSING = Long.MIN_VALUE;

    /** More readings than any gauge sends in two days at one every three minutes; the oldest leave first. */
    static final int MAX_READINGS = 1024;

    private static final int TIME = 0;
    private static final int TAG = 1;
    private static final int RECEIVED = 2;
    private static final int ORIGIN = 3;
    private static final int VALUES = 4;

    private final int stride;
    private long[] cells;

    /**
     * Opens what a state holds.
     *
     * @param cells the state, NULL before the first reading
     * @param width the number of measured values of a reading
     */
    Series(long[] cells, int width) {
        this.stride = VALUES + width;
        this.cells = cells == null ? new long[0] : cells;
    }

    /** What the state is to hold. */
    long[] cells() {
        return cells;
    }

    int size() {
        return cells.length / stride;
    }

    /** Event time of a reading, milliseconds since 1970. */
    long time(int index) {
        return cells[index * stride + TIME];
    }

    long tag(int index) {
        return cells[index * stride + TAG];
    }

    /** The arrival clock of a reading: the later one, where it was replaced. */
    long received(int index) {
        return cells[index * stride + RECEIVED];
    }

    /** The origin of a reading as {@link Origins} codes it. */
    int origin(int index) {
        return (int) cells[index * stride + ORIGIN];
    }

    /** A measured value, or {@link #MISSING}. */
    long value(int index, int which) {
        return cells[index * stride + VALUES + which];
    }

    /** The newest event time; {@link Long#MIN_VALUE} without any reading. */
    long newest() {
        return cells.length == 0 ? Long.MIN_VALUE : time(size() - 1);
    }

    /** The index of the first reading at or after this time; the size when there is none. */
    int indexFrom(long time) {
        return indexFrom(time, Long.MIN_VALUE);
    }

    private int indexFrom(long time, long tag) {
        int low = 0;
        int high = size();
        while (low < high) {
            int middle = (low + high) >>> 1;
            boolean isBefore = time(middle) < time || (time(middle) == time && tag(middle) < tag);
            if (isBefore) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    /** Takes a reading in; returns whether anything that a row says can differ because of it. */
    boolean put(long time, long tag, long received, int origin, long... values) {
        int index = indexFrom(time, tag);
        boolean isKnown = index < size() && time(index) == time && tag(index) == tag;
        if (isKnown && origin(index) == origin && Arrays.equals(values, valuesOf(index))) {
            return false;
        }
        int from = index * stride;
        int to = isKnown ? from + stride : from;
        long[] changed = new long[cells.length - (to - from) + stride];
        System.arraycopy(cells, 0, changed, 0, from);
        System.arraycopy(cells, to, changed, from + stride, cells.length - to);
        changed[from + TIME] = time;
        changed[from + TAG] = tag;
        // A correction may carry an older arrival clock by some seconds; the row that it changes must not look older.
        changed[from + RECEIVED] = isKnown ? Math.max(received, received(index)) : received;
        changed[from + ORIGIN] = origin;
        System.arraycopy(values, 0, changed, from + VALUES, values.length);
        cells = changed;
        return true;
    }

    /** Forgets the oldest readings. */
    void removeFirst(int count) {
        if (count > 0) {
            cells = Arrays.copyOfRange(cells, count * stride, cells.length);
        }
    }

    /** How many of the oldest readings lie before this time or above the number that is held. */
    int expired(long time) {
        return Math.max(indexFrom(time), size() - MAX_READINGS);
    }

    private long[] valuesOf(int index) {
        return Arrays.copyOfRange(cells, index * stride + VALUES, (index + 1) * stride);
    }
}
