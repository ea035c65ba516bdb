package vn.hue.lake.scenario;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Begins and ends the runs of one group of a scenario as its facts arrive and the arrival clock goes on. Plain Java.
 *
 * <p>A run begins at the first fact at which the conditions have held together for the hold, by event time, and no
 * cool-down lasts. It ends by recovery, at the first fact at which they have not held for {@code clear.after}, by event
 * time; or by silence, when no fact has made them hold for {@code clear.after}, by the arrival clock. A fact older than the
 * newest of its series changes nothing and is counted; one of the same time is a correction. Absence goes by the arrival
 * clock: the deadline is looked at before every fact and by timer, so that it does not matter which of them comes first.
 *
 * <p>Everything follows from the facts in their order. A run is named by scenario, group and the time of its beginning.
 */
final class ScenarioLogic {

    static final String RECOVERED = "recovered";
    static final String SILENCE = "silence";
    static final String RULE_CHANGED = "rule_changed";
    static final String RULE_DISABLED = "rule_disabled";

    /** So many series of a group are remembered; then the one that was proven longest ago makes room. */
    static final int MAX_SERIES = 256;
    /** A group without a run is forgotten when nothing has arrived for so long; no period of a rule is longer. */
    static final long FORGET_MILLIS = 8 * 86_400_000L;

    /** The beginning of a run, or its end, whose reason is not null; {@code receivedMillis} orders the two. */
    record Transition(State.Run run, Long endedMillis, long receivedMillis, String reason, String evidence) {}

    private final String scenario;
    private final String group;
    private final Rule rule;
    private final RuleBook.End end;

    /** @param end how the epoch of the rule ended, null while it lasts */
    ScenarioLogic(String scenario, String group, Rule rule, RuleBook.End end) {
        this.scenario = scenario;
        this.group = group;
        this.rule = rule;
        this.end = end;
    }

    /** Takes in a fact and returns what begins and ends with it, in this order of time. */
    List<Transition> observe(State state, Observation fact) {
        List<Transition> found = advance(state, fact.arrivedMillis - 1);
        if (end != null && end.arrivedMillis() < fact.arrivedMillis) {
            return found;
        }
        Condition condition = rule.conditions().get(fact.condition);
        boolean isAbsence = condition.kind() == Condition.Kind.ABSENCE;
        state.arrivedMillis = Math.max(state.arrivedMillis, fact.arrivedMillis);
        if (!SeriesLogic.isUsable(condition, fact.value)) {
            state.ignored++;
            return found;
        }
        State.Series series = find(state, fact);
        if (series == null) {
            series = add(state, fact);
        } else if (isRepeated(series, fact)) {
            return found;
        } else if (!isAbsence && fact.eventMillis < series.newestMillis) {
            state.ignored++;
            return found;
        }
        series.arrivedMillis = Math.max(series.arrivedMillis, fact.arrivedMillis);
        SeriesLogic.observe(condition, series, fact);
        remember(series, fact);
        // An absence knows no event time but that of what is missing.
        go(state, isAbsence ? fact.arrivedMillis : fact.eventMillis);
        settle(state, fact.arrivedMillis, series.isMet, found);
        return found;
    }

    /** Lets time pass up to and including this arrival clock and returns what begins and ends by that. */
    List<Transition> advance(State state, long clockMillis) {
        List<Transition> found = new ArrayList<>(1);
        while (true) {
            State.Series absent = nextAbsence(state);
            long absence = absent == null ? Long.MAX_VALUE : absenceAt(absent);
            long silence = silenceAt(state);
            long over = end == null ? Long.MAX_VALUE : end.arrivedMillis();
            if (Math.min(Math.min(absence, silence), over) > clockMillis) {
                return found;
            }
            if (over <= Math.min(absence, silence)) {
                if (state.run != null) {
                    found.add(finish(state, Math.max(state.run.startedMillis, over), over, end.reason()));
                }
                state.series = new State.Series[0];
                return found;
            }
            if (absence <= silence) {
                absent.isMet = true;
                absent.metMillis = absence;
                go(state, absence);
                settle(state, absence, true, found);
            } else {
                go(state, silence);
                found.add(finish(state, state.nowMillis, silence, SILENCE));
                // What was proven before the silence begins no other run.
                for (State.Series each : state.series) {
                    each.isMet = false;
                }
            }
        }
    }

    /** Returns the arrival clock at which {@link #advance} has something to do at the earliest. */
    long nextDeadline(State state) {
        State.Series absent = nextAbsence(state);
        long next = Math.min(absent == null ? Long.MAX_VALUE : absenceAt(absent), silenceAt(state));
        if (end != null) {
            next = Math.min(next, end.arrivedMillis());
        }
        return state.run != null ? next : Math.min(next, state.arrivedMillis + FORGET_MILLIS);
    }

    /** Whether nothing is lost when the state is dropped, asked when a timer says that it is this time. */
    boolean isForgotten(State state, long clockMillis) {
        boolean isOver = end != null && end.arrivedMillis() <= clockMillis;
        return state.run == null && (isOver || state.arrivedMillis + FORGET_MILLIS <= clockMillis);
    }

    private static void go(State state, long millis) {
        state.nowMillis = state.nowMillis == null ? millis : Math.max(state.nowMillis, millis);
    }

    private void settle(State state, long arrivedMillis, boolean isProof, List<Transition> found) {
        long now = state.nowMillis;
        if (holds(state)) {
            state.falseSinceMillis = null;
            state.trueSinceMillis = state.trueSinceMillis == null ? Long.valueOf(now) : state.trueSinceMillis;
            if (isProof) {
                state.provenMillis = arrivedMillis;
            }
            boolean isCool = state.coolUntilMillis == null || now >= state.coolUntilMillis;
            if (state.run == null && isCool && now - state.trueSinceMillis >= rule.holdMillis()) {
                found.add(begin(state, arrivedMillis));
            }
            return;
        }
        state.trueSinceMillis = null;
        state.falseSinceMillis = state.falseSinceMillis == null ? Long.valueOf(now) : state.falseSinceMillis;
        if (state.run != null && !rule.clearsBySilence() && now - state.falseSinceMillis >= rule.clearAfterMillis()) {
            found.add(finish(state, now, arrivedMillis, RECOVERED));
        }
    }

    private boolean holds(State state) {
        for (int i = 0; i < rule.conditions().size(); i++) {
            if ((met(state, i).size() >= rule.conditions().get(i).atLeast()) != rule.isAll()) {
                return !rule.isAll();
            }
        }
        return rule.isAll();
    }

    /** The series that meet a condition now, in the order of their keys. */
    private List<State.Series> met(State state, int condition) {
        List<State.Series> found = new ArrayList<>();
        boolean lasts = rule.withinMillis() == null || rule.conditions().get(condition).kind() == Condition.Kind.ABSENCE;
        for (State.Series each : state.series) {
            if (each.condition == condition
                    && each.isMet
                    && (lasts || each.metMillis > state.nowMillis - rule.withinMillis())) {
                found.add(each);
            }
        }
        return found;
    }

    private Transition begin(State state, long arrivedMillis) {
        List<List<State.Series>> met = new ArrayList<>();
        for (int i = 0; i < rule.conditions().size(); i++) {
            met.add(met(state, i));
        }
        State.Run run = new State.Run();
        run.id = scenario + '|' + group + '|' + Instant.ofEpochMilli(state.nowMillis);
        run.startedMillis = state.nowMillis;
        run.receivedMillis = arrivedMillis;
        Evidence evidence = new Evidence(rule, group, met);
        run.origin = evidence.origin();
        run.ward = evidence.ward();
        run.headlineVi = evidence.headline(rule.output().headlineVi(), state.nowMillis);
        run.headlineEn = evidence.headline(rule.output().headlineEn(), state.nowMillis);
        run.evidence = evidence.json(state.ignored);
        state.run = run;
        state.ignored = 0;
        return new Transition(run, null, arrivedMillis, null, null);
    }

    private Transition finish(State state, long endedMillis, long arrivedMillis, String reason) {
        State.Run run = state.run;
        List<List<State.Series>> newest = new ArrayList<>();
        for (int i = 0; i < rule.conditions().size(); i++) {
            newest.add(newest(state, i));
        }
        String evidence = new Evidence(rule, group, newest).json(state.ignored);
        state.run = null;
        state.ignored = 0;
        state.trueSinceMillis = null;
        state.provenMillis = null;
        state.coolUntilMillis = endedMillis + rule.coolDownMillis();
        // The end is the newer version of the run's row, even if both came with one record.
        long receivedMillis = Math.max(run.receivedMillis + 1, arrivedMillis);
        return new Transition(run, endedMillis, receivedMillis, reason, evidence);
    }

    /** The series of a condition that was heard of last. */
    private static List<State.Series> newest(State state, int condition) {
        State.Series found = null;
        for (State.Series each : state.series) {
            if (each.condition == condition && (found == null || each.arrivedMillis > found.arrivedMillis)) {
                found = each;
            }
        }
        return found == null ? List.of() : List.of(found);
    }

    private State.Series nextAbsence(State state) {
        State.Series found = null;
        for (State.Series each : state.series) {
            boolean isDue = rule.conditions().get(each.condition).kind() == Condition.Kind.ABSENCE && !each.isMet;
            if (isDue && (found == null || absenceAt(each) < absenceAt(found))) {
                found = each;
            }
        }
        return found;
    }

    private long absenceAt(State.Series series) {
        return series.arrivedMillis + rule.conditions().get(series.condition).periodMillis();
    }

    private long silenceAt(State state) {
        boolean isWaiting = state.run != null && rule.clearsBySilence() && state.provenMillis != null;
        return isWaiting ? state.provenMillis + rule.clearAfterMillis() : Long.MAX_VALUE;
    }

    private static State.Series find(State state, Observation fact) {
        for (State.Series each : state.series) {
            if (each.condition == fact.condition && each.key.equals(fact.series)) {
                return each;
            }
        }
        return null;
    }

    /** The same raw record again, as a restored or rebuilt job writes it; an aggregate is the same by time and value. */
    private static boolean isRepeated(State.Series series, Observation fact) {
        if (fact.eventMillis != series.newestMillis || fact.arrivedMillis > series.arrivedMillis) {
            return false;
        }
        return fact.rawOffset == null
                ? fact.value == null || fact.value.equals(series.value)
                : fact.rawOffset.equals(series.rawOffset) && fact.rawPartition.equals(series.rawPartition);
    }

    private static State.Series add(State state, Observation fact) {
        State.Series series = new State.Series();
        series.condition = fact.condition;
        series.key = fact.series;
        series.arrivedMillis = fact.arrivedMillis;
        if (state.series.length < MAX_SERIES) {
            state.series = Arrays.copyOf(state.series, state.series.length + 1);
            state.series[state.series.length - 1] = series;
            return series;
        }
        int oldest = 0;
        for (int i = 1; i < state.series.length; i++) {
            oldest = state.series[i].arrivedMillis < state.series[oldest].arrivedMillis ? i : oldest;
        }
        state.series[oldest] = series;
        state.ignored++;
        return series;
    }

    private static void remember(State.Series series, Observation fact) {
        if (series.newestMillis != null && fact.eventMillis < series.newestMillis) {
            return;
        }
        series.newestMillis = fact.eventMillis;
        series.rawPartition = fact.rawPartition;
        series.rawOffset = fact.rawOffset;
        series.value = fact.value;
        series.origin = fact.origin;
        series.ward = fact.ward;
    }
}
