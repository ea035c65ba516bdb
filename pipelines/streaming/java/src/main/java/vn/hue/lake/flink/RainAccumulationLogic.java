package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.List;

/**
 * Rain over the last hours and since the rain began, each sum with the share of its time for which there are readings.
 * Plain Java: no clock, no Flink.
 *
 * <p>A reading is the sum of the period that ends at its time, so the window of a row at time t is (t − hours, t]. A
 * place in time counts once: the same bucket tips sent again are the same reading, and a correction takes the place of
 * what it corrects. A late reading makes all rows from its time on anew. One older than the newest by more than
 * {@code lateMillis} changes nothing; what is older than any window is folded into the sums of the rain event.
 *
 * <p>The event begins with the period of the first wet reading and lasts until there was no wet one for longer than
 * {@code dryMillis}.
 */
final class RainAccumulationLogic {

    /** The windows of the sums, hours. */
    static final int[] WINDOWS_H = {1, 3, 6, 12, 24};

    private static final long HOUR_MILLIS = 3_600_000L;
    private static final long LONGEST_MILLIS = WINDOWS_H[WINDOWS_H.length - 1] * HOUR_MILLIS;
    private static final int RAIN = 0;

    /** What is remembered of a gauge; public fields as Flink's state wants them. */
    public static class State {
        /** The readings, see {@link Series}. */
        public long[] readings;
        /** The event as it stood before the oldest of them, see {@link Event}; NULL while nothing was folded. */
        public long[] folded;
    }

    /** A share of time with readings: {@code periods} of {@code expected}. */
    record Coverage(long periods, long expected) {}

    /** One row: sums as unscaled numbers, the event's NULL while none lasts. */
    record Row(
            long observedAtMillis,
            long[] sums,
            Coverage[] coverages,
            Long eventStartedAtMillis,
            Long eventSum,
            Coverage eventCoverage,
            int origin,
            long receivedAtMillis) {}

    private final long periodMillis;
    private final long dryMillis;
    private final long lateMillis;

    /**
     * Sets the rule up.
     *
     * @param periodMillis the period of one reading
     * @param dryMillis how long it may be dry within one event
     * @param lateMillis how late a reading may come to be counted
     */
    RainAccumulationLogic(long periodMillis, long dryMillis, long lateMillis) {
        this.periodMillis = periodMillis;
        this.dryMillis = dryMillis;
        this.lateMillis = lateMillis;
    }

    /** Takes a reading in and returns the rows that it makes or changes, in the order of event time. */
    List<Row> evaluate(State state, long observedAt, long rain, long receivedAt, int origin) {
        Series series = new Series(state.readings, 1);
        if (series.size() > 0 && observedAt < series.newest() - lateMillis) {
            return List.of();
        }
        if (!series.put(observedAt, 0, receivedAt, origin, rain)) {
            return List.of();
        }
        Event event = new Event(state.folded);
        int expired = series.expired(series.newest() - lateMillis - LONGEST_MILLIS);
        for (int i = 0; i < expired; i++) {
            event.take(series, i);
        }
        if (expired > 0) {
            state.folded = event.cells();
            series.removeFirst(expired);
        }
        state.readings = series.cells();
        List<Row> rows = new ArrayList<>();
        for (int i = 0; i < series.size(); i++) {
            event.take(series, i);
            if (series.time(i) >= observedAt) {
                rows.add(row(series, i, event));
            }
        }
        return rows;
    }

    private Row row(Series series, int index, Event event) {
        long now = series.time(index);
        long[] sums = new long[WINDOWS_H.length];
        Coverage[] coverages = new Coverage[WINDOWS_H.length];
        int origin = 0;
        long received = Long.MIN_VALUE;
        for (int i = series.indexFrom(now - LONGEST_MILLIS); i <= index; i++) {
            origin |= series.origin(i);
            received = Math.max(received, series.received(i));
        }
        for (int w = 0; w < WINDOWS_H.length; w++) {
            long window = WINDOWS_H[w] * HOUR_MILLIS;
            long periods = 0;
            long lastPeriod = Long.MIN_VALUE;
            for (int i = series.indexFrom(now - window + 1); i <= index; i++) {
                if (series.value(i, RAIN) != Series.MISSING) {
                    sums[w] += series.value(i, RAIN);
                    if (period(series.time(i)) != lastPeriod) {
                        lastPeriod = period(series.time(i));
                        periods++;
                    }
                }
            }
            coverages[w] = new Coverage(Math.min(periods, window / periodMillis), window / periodMillis);
        }
        boolean isRaining = event.lasts(now);
        long expected = isRaining ? Math.max(1, period(now) - period(event.startedAt())) : 0;
        return new Row(
                now,
                sums,
                coverages,
                isRaining ? event.startedAt() : null,
                isRaining ? event.sum() : null,
                isRaining ? new Coverage(Math.min(event.periods(), expected), expected) : null,
                origin,
                received);
    }

    /** The number of the period that ends at this time or contains it. */
    private long period(long time) {
        return Math.floorDiv(time - 1, periodMillis);
    }

    /** The rain event up to a reading: readings are taken one after the other in the order of event time. */
    private final class Event {

        private static final int STARTED = 0;
        private static final int LAST_WET = 1;
        private static final int SUM = 2;
        private static final int PERIODS = 3;
        private static final int LAST_PERIOD = 4;

        private final long[] cells;

        Event(long[] folded) {
            cells = folded == null
                    ? new long[] {Series.MISSING, Series.MISSING, 0, 0, Long.MIN_VALUE}
                    : folded.clone();
        }

        long[] cells() {
            return cells.clone();
        }

        long startedAt() {
            return cells[STARTED];
        }

        long sum() {
            return cells[SUM];
        }

        long periods() {
            return cells[PERIODS];
        }

        boolean lasts(long now) {
            return cells[LAST_WET] != Series.MISSING && now - cells[LAST_WET] <= dryMillis;
        }

        void take(Series series, int index) {
            long rain = series.value(index, RAIN);
            if (rain == Series.MISSING) {
                return;
            }
            long now = series.time(index);
            if (rain > 0) {
                if (!lasts(now)) {
                    cells[STARTED] = now - periodMillis;
                    cells[SUM] = 0;
                    cells[PERIODS] = 0;
                    cells[LAST_PERIOD] = Long.MIN_VALUE;
                }
                cells[LAST_WET] = now;
            }
            if (lasts(now)) {
                cells[SUM] += rain;
                if (period(now) != cells[LAST_PERIOD]) {
                    cells[LAST_PERIOD] = period(now);
                    cells[PERIODS]++;
                }
            }
        }
    }
}
