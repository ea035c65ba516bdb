package vn.hue.lake.flink;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;

/**
 * Raises and clears the alarm levels of one station as its readings arrive: the three legal ones, and the historical
 * record. Plain Java: no clock, no Flink.
 *
 * <p>A level is raised by the first reading at or above its threshold, at once. It is cleared by the first reading that
 * comes, by event time, at least {@code holdMillis} after the stage fell below the threshold less the hysteresis and has
 * stayed there. Silence clears nothing. A reading older than the newest one is not evaluated but reported as ignored; one
 * of the same time is (a correction). Failed and missing readings (QC flags 4 and 9) change nothing and report nothing.
 * While no threshold is valid at a reading's time its level stays as it is. A record that a flood sets is in force from
 * a later day on, so that the night itself is measured against the record that was known before it.
 */
final class FloodAlarmLogic {

    /** What happened to a level. */
    enum Kind {
        RAISE("raise"),
        CLEAR("clear"),
        IGNORED_OLDER("ignored_older");

        private final String text;

        Kind(String text) {
            this.text = text;
        }

        String text() {
            return text;
        }
    }

    /** What is remembered of a station; public fields as Flink's state wants them. */
    public static class State {
        /** Event time of the newest evaluated reading, milliseconds since 1970; NULL before the first. */
        public Long newestMillis;
        /** The active levels. */
        public ActiveLevel[] active = new ActiveLevel[0];
    }

    /** A level that is raised. */
    public static class ActiveLevel {
        /** The level's number. */
        public int level;
        /** Event time of the reading that raised it. */
        public long raisedAtMillis;
        /** Event time of the first of the readings below threshold less hysteresis; NULL while there is none. */
        public Long belowSinceMillis;
        /** The highest stage since the raise. */
        public long peakMillimetres;
    }

    /** One reading of the gauge. */
    record Reading(
            String stationId,
            long observedAtMillis,
            Long stageMillimetres,
            Integer qcFlag,
            Integer rawPartition,
            Long rawOffset) {}

    /** One row of output; of an ignored reading only kind, id and time are set. */
    record Transition(
            Kind kind,
            String alertId,
            Integer level,
            long atMillis,
            Long raisedAtMillis,
            Long thresholdMillimetres,
            Long peakMillimetres) {}

    private final AlarmLevels levels;
    private final long hysteresisMillimetres;
    private final long holdMillis;

    FloodAlarmLogic(AlarmLevels levels, long hysteresisMillimetres, long holdMillis) {
        if (hysteresisMillimetres < 0 || holdMillis < 0) {
            throw new IllegalArgumentException("Hysteresis (" + hysteresisMillimetres + " mm) and hold (" + holdMillis
                    + " ms) must not be negative.");
        }
        this.levels = levels;
        this.hysteresisMillimetres = hysteresisMillimetres;
        this.holdMillis = holdMillis;
    }

    /** Evaluates one reading, updates the state and returns the transitions, lowest level first. */
    List<Transition> evaluate(State state, Reading reading) {
        if (reading.stageMillimetres == null || !QcFlags.isUsable(reading.qcFlag)) {
            return List.of();
        }
        if (state.newestMillis != null && reading.observedAtMillis < state.newestMillis) {
            return List.of(ignored(reading));
        }
        state.newestMillis = reading.observedAtMillis;
        List<Transition> transitions = new ArrayList<>();
        List<ActiveLevel> active = new ArrayList<>(List.of(state.active));
        for (AlarmLevels.Level level : levels.of(reading.stationId)) {
            OptionalLong threshold = level.thresholdAt(reading.observedAtMillis);
            if (threshold.isPresent()) {
                Transition transition = step(active, level.number(), threshold.getAsLong(), reading);
                if (transition != null) {
                    transitions.add(transition);
                }
            }
        }
        state.active = active.toArray(new ActiveLevel[0]);
        return transitions;
    }

    private Transition step(List<ActiveLevel> active, int level, long threshold, Reading reading) {
        long stage = reading.stageMillimetres;
        long now = reading.observedAtMillis;
        ActiveLevel alarm = find(active, level);
        if (alarm == null) {
            if (stage < threshold) {
                return null;
            }
            alarm = new ActiveLevel();
            alarm.level = level;
            alarm.raisedAtMillis = now;
            alarm.peakMillimetres = stage;
            active.add(alarm);
            return new Transition(Kind.RAISE, alertId(level, reading, now), level, now, now, threshold, null);
        }
        alarm.peakMillimetres = Math.max(alarm.peakMillimetres, stage);
        if (stage >= threshold - hysteresisMillimetres) {
            alarm.belowSinceMillis = null;
            return null;
        }
        if (alarm.belowSinceMillis == null) {
            alarm.belowSinceMillis = now;
        }
        if (now - alarm.belowSinceMillis < holdMillis) {
            return null;
        }
        active.remove(alarm);
        return new Transition(
                Kind.CLEAR,
                alertId(level, reading, alarm.raisedAtMillis),
                level,
                now,
                alarm.raisedAtMillis,
                threshold,
                alarm.peakMillimetres);
    }

    private static ActiveLevel find(List<ActiveLevel> active, int level) {
        for (ActiveLevel each : active) {
            if (each.level == level) {
                return each;
            }
        }
        return null;
    }

    private static Transition ignored(Reading reading) {
        String id = "ignored|" + reading.stationId + "|" + reading.rawPartition + "|" + reading.rawOffset;
        return new Transition(Kind.IGNORED_OLDER, id, null, reading.observedAtMillis, null, null, null);
    }

    private static String alertId(int level, Reading reading, long raisedAtMillis) {
        return AlarmLevels.rule(level).toLowerCase(Locale.ROOT) + "|" + reading.stationId + "|"
                + Instant.ofEpochMilli(raisedAtMillis);
    }
}
