package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.List;

/**
 * How full a reservoir is at each report, and how fast it fills. Plain Java: no clock, no Flink.
 *
 * <p>A report makes a row; one that comes late, or corrects another, makes the rows of the following hours anew, because
 * it lies in the window of their rate. A report older than the newest by more than {@code lateMillis} changes nothing.
 */
final class ReservoirStateLogic {

    /** The window of the rate: reports come every hour in quiet times, and three are needed. */
    static final long WINDOW_MILLIS = 3 * 3_600_000L;

    private static final int LEVEL = 0;
    private static final int INFLOW = 1;
    private static final int OUTFLOW = 2;
    private static final int MEASURES = 3;

    /** What is remembered of a reservoir; public fields as Flink's state wants them. */
    public static class State {
        /** The reports, see {@link Series}. */
        public long[] readings;
    }

    /**
     * One row: levels in millimetres, storages in thousand m³, flows in litres per second ({@link Series#MISSING} where
     * none is known), the rate in millimetres per hour (NaN: too few reports).
     */
    record Row(
            long observedAtMillis,
            long level,
            Long normalLevel,
            Long storage,
            Long freeStorage,
            long inflow,
            long outflow,
            double risePerHour,
            int origin,
            long receivedAtMillis) {

        long belowNormal() {
            return level == Series.MISSING || normalLevel == null ? Series.MISSING : normalLevel - level;
        }

        long netInflow() {
            return inflow == Series.MISSING || outflow == Series.MISSING ? Series.MISSING : inflow - outflow;
        }
    }

    private final ReservoirTables tables;
    private final long lateMillis;

    ReservoirStateLogic(ReservoirTables tables, long lateMillis) {
        this.tables = tables;
        this.lateMillis = lateMillis;
    }

    /** Takes a report in and returns the rows that it makes or changes, in the order of event time. */
    List<Row> evaluate(
            State state, String reservoirId, long observedAt, long[] levelAndFlows, long receivedAt, int origin) {
        Series series = new Series(state.readings, MEASURES);
        if (series.size() > 0 && observedAt < series.newest() - lateMillis) {
            return List.of();
        }
        if (!series.put(observedAt, 0, receivedAt, origin, levelAndFlows)) {
            return List.of();
        }
        series.removeFirst(series.expired(series.newest() - lateMillis - WINDOW_MILLIS));
        state.readings = series.cells();
        List<Row> rows = new ArrayList<>();
        for (int i = series.indexFrom(observedAt);
                i < series.size() && series.time(i) <= observedAt + WINDOW_MILLIS;
                i++) {
            rows.add(row(series, i, reservoirId));
        }
        return rows;
    }

    private Row row(Series series, int index, String reservoirId) {
        int first = series.indexFrom(series.time(index) - WINDOW_MILLIS);
        int origin = 0;
        long received = Long.MIN_VALUE;
        for (int i = first; i <= index; i++) {
            origin |= series.origin(i);
            received = Math.max(received, series.received(i));
        }
        long level = series.value(index, LEVEL);
        Long normal = tables.normalLevel(reservoirId);
        Long storage = level == Series.MISSING ? null : tables.storage(reservoirId, level);
        Long full = normal == null ? null : tables.storage(reservoirId, normal);
        return new Row(
                series.time(index),
                level,
                normal,
                storage,
                storage == null || full == null ? null : full - storage,
                series.value(index, INFLOW),
                series.value(index, OUTFLOW),
                TheilSen.perHour(series, first, index + 1, LEVEL, WINDOW_MILLIS),
                origin,
                received);
    }
}
