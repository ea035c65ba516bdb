package vn.hue.lake.flink;

import java.util.Arrays;

/**
 * The slope of readings after Theil (1950) and Sen (1968): the median of the slopes of all pairs.
 *
 * <p>A single wrong reading, or a third of them, hardly moves it, unlike a least-squares line.
 */
final class TheilSen {

    /** Fewer readings than this, or readings that span less than half of the window, say nothing about a rate. */
    static final int MIN_READINGS = 3;

    /** The pairs grow with the square: of more readings every second, third … is taken, the newest always. */
    static final int MAX_READINGS = 120;

    private TheilSen() {}

    /**
     * The slope of one measured value over the readings {@code from} (inclusive) to {@code to} (exclusive).
     *
     * @param windowMillis the length of the window in which these readings lie
     * @return the change of the value per hour, NaN when there are too few readings for one
     */
    static double perHour(Series series, int from, int to, int which, long windowMillis) {
        long[] times = new long[to - from];
        long[] values = new long[to - from];
        int count = 0;
        for (int i = from; i < to; i++) {
            if (series.value(i, which) != Series.MISSING) {
                times[count] = series.time(i);
                values[count++] = series.value(i, which);
            }
        }
        if (count < MIN_READINGS || 2 * (times[count - 1] - times[0]) < windowMillis) {
            return Double.NaN;
        }
        int step = (count + MAX_READINGS - 1) / MAX_READINGS;
        int kept = (count + step - 1) / step;
        double[] slopes = new double[kept * (kept - 1) / 2];
        int found = 0;
        for (int later = count - 1; later >= 0; later -= step) {
            for (int earlier = later - step; earlier >= 0; earlier -= step) {
                slopes[found++] = (values[later] - values[earlier]) / ((times[later] - times[earlier]) / 3_600_000.0);
            }
        }
        Arrays.sort(slopes, 0, found);
        return found % 2 == 1 ? slopes[found / 2] : (slopes[found / 2 - 1] + slopes[found / 2]) / 2;
    }
}
