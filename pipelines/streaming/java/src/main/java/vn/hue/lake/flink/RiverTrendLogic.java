package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/**
 * How fast the river rises at each reading, and when it reaches the next alarm level at that rate. Plain Java: no clock,
 * no Flink.
 *
 * <p>A reading makes a row; one that comes late, or corrects another, makes the rows of the following six hours anew,
 * because it lies in their windows. A reading older than the newest by more than {@code lateMillis} changes nothing.
 */
final class RiverTrendLogic {

    /** The windows of the rates, hours. */
    static final int[] WINDOWS_H = {1, 3, 6};

    private static final long HOUR_MILLIS = 3_600_000L;
    private static final long LONGEST_MILLIS = WINDOWS_H[WINDOWS_H.length - 1] * HOUR_MILLIS;
    /** What the last hour says of a time beyond this is no forecast. */
    private static final double MAX_MINUTES = 24 * 60.0;

    private static final int STAGE = 0;

    /** What is remembered of a station; public fields as Flink's state wants them. */
    public static class State {
        /** The readings, see {@link Series}. */
        public long[] readings;
    }

    /**
     * One row: stages and thresholds in millimetres, rates in millimetres per hour (NaN: too few readings), NULL where
     * nothing is known.
     */
    record Row(
            long observedAtMillis,
            long stageMillimetres,
            double[] risePerHour,
            Integer level,
            Integer nextLevel,
            Long nextThreshold,
            Integer minutesToNext,
            int origin,
            long receivedAtMillis) {}

    private final AlarmLevels levels;
    private final long lateMillis;

    RiverTrendLogic(AlarmLevels levels, long lateMillis) {
        this.levels = levels;
        this.lateMillis = lateMillis;
    }

    /** Takes a reading in and returns the rows that it makes or changes, in the order of event time. */
    List<Row> evaluate(State state, String stationId, long observedAt, long stage, long receivedAt, int origin) {
        Series series = new Series(state.readings, 1);
        if (series.size() > 0 && observedAt < series.newest() - lateMillis) {
            return List.of();
        }
        if (!series.put(observedAt, 0, receivedAt, origin, stage)) {
            return List.of();
        }
        series.removeFirst(series.expired(series.newest() - lateMillis - LONGEST_MILLIS));
        state.readings = series.cells();
        List<Row> rows = new ArrayList<>();
        for (int i = series.indexFrom(observedAt);
                i < series.size() && series.time(i) <= observedAt + LONGEST_MILLIS;
                i++) {
            rows.add(row(series, i, stationId));
        }
        return rows;
    }

    private Row row(Series series, int index, String stationId) {
        long now = series.time(index);
        double[] rises = new double[WINDOWS_H.length];
        int first = index;
        for (int i = 0; i < WINDOWS_H.length; i++) {
            long window = WINDOWS_H[i] * HOUR_MILLIS;
            first = series.indexFrom(now - window);
            rises[i] = TheilSen.perHour(series, first, index + 1, STAGE, window);
        }
        int origin = 0;
        long received = Long.MIN_VALUE;
        for (int i = first; i <= index; i++) {
            origin |= series.origin(i);
            received = Math.max(received, series.received(i));
        }
        long stage = series.value(index, STAGE);
        Integer level = null;
        Integer nextLevel = null;
        Long nextThreshold = null;
        if (stage != Series.MISSING) {
            level = 0;
            for (AlarmLevels.Level each : levels.of(stationId)) {
                OptionalLong threshold = each.thresholdAt(now);
                if (threshold.isPresent() && stage >= threshold.getAsLong()) {
                    level = each.number();
                } else if (threshold.isPresent() && nextLevel == null) {
                    nextLevel = each.number();
                    nextThreshold = threshold.getAsLong();
                }
            }
        }
        Integer minutes = nextThreshold == null ? null : minutesTo(nextThreshold - stage, rises[0]);
        return new Row(now, stage, rises, level, nextLevel, nextThreshold, minutes, origin, received);
    }

    /** Whole minutes until the stage has risen so far at the rate of the last hour; NULL when it does not within a day. */
    private static Integer minutesTo(long millimetres, double perHour) {
        double minutes = Math.ceil(millimetres / perHour * 60);
        return perHour > 0 && minutes <= MAX_MINUTES ? Integer.valueOf((int) minutes) : null;
    }
}
