package vn.hue.lake.flink;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Finds traffic incidents on one section of road from its time windows. Plain Java: no clock, no Flink.
 *
 * <p>Two methods, each with its own thresholds, persistence and state:
 *
 * <ul>
 *   <li><b>speed_threshold</b>, of a single station: the speed as a share of the free-flow speed stays below
 *       {@code raise_ratio_pct} for {@code raise_window_count} windows; it ends when the share stays at or above
 *       {@code clear_ratio_pct} for {@code clear_window_count} windows (hysteresis).
 *   <li><b>california</b>, of a pair of stations (the basic California algorithm with persistence; Payne and Tignor 1978):
 *       it begins when OCCDF = up − down ≥ {@code occdf_pct}, OCCRDF = (up − down) / up ≥ {@code occrdf_ratio} and
 *       DOCCTD = (down two windows ago − down) / down two windows ago ≥ {@code docctd_ratio}; it is raised when OCCRDF has
 *       held for {@code raise_window_count} windows, the first included, and ends when OCCRDF has been below for
 *       {@code clear_window_count} windows.
 * </ul>
 *
 * <p>Windows come in order of time; one that is not newer than the newest is not evaluated. Silence raises and clears
 * nothing: a run of windows ends where more than {@code gap_window_count} windows are missing, an incident lasts.
 */
final class IncidentLogic {

    /** The single-station method. */
    static final String SPEED_THRESHOLD = "speed_threshold";
    /** The method of pairs. */
    static final String CALIFORNIA = "california";

    /** What is remembered of a section; public fields as Flink's state wants them. */
    public static class State {
        /** End of the newest evaluated window, milliseconds since 1970; NULL before the first. */
        public Long newestMillis;
        /** Downstream occupancy one window ago; NULL where it is unknown. */
        public Double downstreamBefore;
        /** Downstream occupancy two windows ago; NULL where it is unknown. */
        public Double downstreamTwoBefore;
        /** The single-station method's run. */
        public Track speed = new Track();
        /** The run of the method of pairs. */
        public Track pair = new Track();
    }

    /** A run of windows towards a raise or a clear. */
    public static class Track {
        /** Windows in a row that speak for an incident; counts until the raise. */
        public int raising;
        /** Windows in a row that speak for its end; counts until the clear. */
        public int clearing;
        /** Whether an incident is raised. */
        public boolean isActive;
        /** Start of the first window of the run. */
        public long startedAtMillis;
        /** End of the window that raised it. */
        public long raisedAtMillis;
        /** End of the newest window that this method could use. */
        public long newestMillis;
    }

    /** One window of a section; a measure that the section does not have is NULL. */
    record Window(
            String sectionId,
            long startMillis,
            long endMillis,
            Double freeFlowRatioPct,
            Double upstreamOccupancyPct,
            Double downstreamOccupancyPct) {}

    /** One row of output: the raise or the clear of an incident. */
    record Transition(
            String alertId,
            String method,
            boolean isRaise,
            long atMillis,
            long startedAtMillis,
            long raisedAtMillis) {}

    /** Thresholds of a method as the code list has them at one time. */
    private record Thresholds(
            int raiseWindows,
            int clearWindows,
            int gapWindows,
            Double raiseRatioPct,
            Double clearRatioPct,
            Double occdfPct,
            Double occrdfRatio,
            Double docctdRatio) {}

    private static final List<String> COLUMNS = List.of(
            "raise_window_count",
            "clear_window_count",
            "gap_window_count",
            "raise_ratio_pct",
            "clear_ratio_pct",
            "occdf_pct",
            "occrdf_ratio",
            "docctd_ratio");
    private static final Map<String, List<String>> NEEDED = Map.of(
            SPEED_THRESHOLD, List.of("raise_window_count", "clear_window_count", "gap_window_count", "raise_ratio_pct", "clear_ratio_pct"),
            CALIFORNIA,
            List.of("raise_window_count", "clear_window_count", "gap_window_count", "occdf_pct", "occrdf_ratio", "docctd_ratio"));

    private final CodeListRows thresholds;

    /**
     * Takes the thresholds by method; a method without a row that holds finds nothing.
     *
     * @throws IllegalArgumentException if the list has other columns, or a method lacks what it needs
     */
    IncidentLogic(CodeListRows thresholds) {
        List<String> found =
                thresholds.values().stream().map(CodeListRows.Column::name).toList();
        if (!thresholds.keys().equals(List.of("incident_method")) || !found.equals(COLUMNS)) {
            throw new IllegalArgumentException("the thresholds have the key " + thresholds.keys() + " and the columns "
                    + found + "; expected [incident_method] and " + COLUMNS);
        }
        NEEDED.forEach((method, columns) -> {
            for (Object[] row : thresholds.all(List.of(method))) {
                for (String column : columns) {
                    if (!(row[COLUMNS.indexOf(column)] instanceof Double)) {
                        throw new IllegalArgumentException("the thresholds of " + method + " need the number " + column);
                    }
                }
            }
        });
        this.thresholds = thresholds;
    }

    /** Evaluates one window, updates the state and returns what it raises and clears. */
    List<Transition> evaluate(State state, Window window) {
        if (state.newestMillis != null && window.endMillis <= state.newestMillis) {
            return List.of();
        }
        List<Transition> transitions = new ArrayList<>(0);
        if (window.freeFlowRatioPct != null) {
            Thresholds limits = at(SPEED_THRESHOLD, window.endMillis);
            if (limits != null) {
                boolean isSlow = window.freeFlowRatioPct < limits.raiseRatioPct;
                boolean isFree = window.freeFlowRatioPct >= limits.clearRatioPct;
                step(state.speed, SPEED_THRESHOLD, limits, window, isSlow, isFree, transitions);
            }
        }
        if (window.upstreamOccupancyPct != null && window.downstreamOccupancyPct != null) {
            Thresholds limits = at(CALIFORNIA, window.endMillis);
            if (limits != null) {
                compare(state, limits, window, transitions);
            }
        }
        remember(state, window);
        return transitions;
    }

    private static void compare(State state, Thresholds limits, Window window, List<Transition> transitions) {
        double up = window.upstreamOccupancyPct;
        double down = window.downstreamOccupancyPct;
        double relative = up > 0 ? (up - down) / up : 0;
        boolean holds = relative >= limits.occrdfRatio;
        Double before = isNext(state, window) ? state.downstreamTwoBefore : null;
        boolean fell = before != null && before > 0 && (before - down) / before >= limits.docctdRatio;
        boolean begins = holds && fell && up - down >= limits.occdfPct;
        boolean goesOn = state.pair.raising > 0 && holds && !hasGap(state.pair, limits, window);
        step(state.pair, CALIFORNIA, limits, window, begins || goesOn, !holds, transitions);
    }

    private static void step(
            Track track,
            String method,
            Thresholds limits,
            Window window,
            boolean isBad,
            boolean isGood,
            List<Transition> transitions) {
        if (hasGap(track, limits, window)) {
            track.raising = 0;
            track.clearing = 0;
        }
        track.newestMillis = window.endMillis;
        if (track.isActive) {
            track.clearing = isGood ? track.clearing + 1 : 0;
            if (track.clearing >= limits.clearWindows) {
                transitions.add(transition(track, method, window, false));
                track.isActive = false;
                track.clearing = 0;
            }
            return;
        }
        if (!isBad) {
            track.raising = 0;
            return;
        }
        if (track.raising == 0) {
            track.startedAtMillis = window.startMillis;
        }
        track.raising++;
        if (track.raising >= limits.raiseWindows) {
            track.isActive = true;
            track.raisedAtMillis = window.endMillis;
            track.raising = 0;
            transitions.add(transition(track, method, window, true));
        }
    }

    private static Transition transition(Track track, String method, Window window, boolean isRaise) {
        String id = method + "|" + window.sectionId + "|" + Instant.ofEpochMilli(track.raisedAtMillis);
        return new Transition(id, method, isRaise, window.endMillis, track.startedAtMillis, track.raisedAtMillis);
    }

    private static void remember(State state, Window window) {
        state.downstreamTwoBefore = isNext(state, window) ? state.downstreamBefore : null;
        state.downstreamBefore = window.downstreamOccupancyPct;
        state.newestMillis = window.endMillis;
    }

    /** Whether the window follows the newest one directly. */
    private static boolean isNext(State state, Window window) {
        return state.newestMillis != null && state.newestMillis == window.startMillis;
    }

    /** Whether so many windows are missing before this one that a run cannot go on. */
    private static boolean hasGap(Track track, Thresholds limits, Window window) {
        long lengthMillis = window.endMillis - window.startMillis;
        return window.startMillis - track.newestMillis > limits.gapWindows * lengthMillis;
    }

    private Thresholds at(String method, long millis) {
        List<Object[]> rows = thresholds.at(List.of(method), millis);
        if (rows.isEmpty()) {
            return null;
        }
        Object[] row = rows.get(0);
        return new Thresholds(
                ((Double) row[0]).intValue(),
                ((Double) row[1]).intValue(),
                ((Double) row[2]).intValue(),
                (Double) row[3],
                (Double) row[4],
                (Double) row[5],
                (Double) row[6],
                (Double) row[7]);
    }
}
