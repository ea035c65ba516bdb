package vn.hue.lake.scenario.job;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.TimeDomain;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.functions.co.KeyedBroadcastProcessFunction;
import org.apache.flink.util.Collector;
import vn.hue.lake.scenario.Evaluator;
import vn.hue.lake.scenario.Group;
import vn.hue.lake.scenario.Observation;
import vn.hue.lake.scenario.Row;
import vn.hue.lake.scenario.RuleBook;
import vn.hue.lake.scenario.State;

/**
 * Judges observations group by group. What is decided stands in {@link Evaluator}; here are its state, its timers, and the
 * order of facts that come from several partitions: they wait until the arrival clock, the watermark, has passed them.
 */
final class EvaluateFunction extends KeyedBroadcastProcessFunction<String, Observation, RuleRecord, Row> {

    private static final long serialVersionUID = 1L;
    /** How often a run that lasts looks whether its rule is still in force, and how long it then waits for the last facts:
     * by the machine's clock, because the arrival clock may stand still. */
    private static final long LOOK_MILLIS = 5_000;

    private final RuleTopic topic;
    private transient RuleBook book;
    private transient Evaluator evaluator;
    private transient Map<String, Long> changedAt;
    private transient Counter unruled;
    private transient ValueState<State> memory;
    private transient MapState<Long, List<Observation>> waiting;

    EvaluateFunction(RuleTopic topic) {
        this.topic = topic;
    }

    @Override
    public void open(OpenContext context) {
        book = new RuleBook();
        topic.read(book);
        evaluator = new Evaluator(book);
        changedAt = new HashMap<>();
        unruled = getRuntimeContext().getMetricGroup().counter("unruled");
        memory = getRuntimeContext().getState(new ValueStateDescriptor<>("memory", TypeInformation.of(State.class)));
        waiting = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>(
                        "waiting", Types.LONG, Types.LIST(TypeInformation.of(Observation.class))));
    }

    @Override
    public void processElement(Observation fact, ReadOnlyContext context, Collector<Row> out) throws Exception {
        Group group = fact.place();
        if (!evaluator.knows(group)) {
            topic.read(book); // The fact has overtaken its rule.
            if (!evaluator.knows(group)) {
                unruled.inc(); // Compacted away since the fact was matched: nobody can say any more what it meant.
                return;
            }
        }
        TimerService timers = context.timerService();
        if (evaluator.isSequenced(group) && fact.arrivedMillis > timers.currentWatermark()) {
            List<Observation> same = waiting.get(fact.arrivedMillis);
            same = same == null ? new ArrayList<>(1) : new ArrayList<>(same);
            same.add(fact);
            waiting.put(fact.arrivedMillis, same);
            timers.registerEventTimeTimer(fact.arrivedMillis);
            return;
        }
        State state = state();
        boolean ran = state.run != null;
        evaluator.observe(group, state, fact).forEach(out::collect);
        keep(group, state, ran, timers);
    }

    @Override
    public void onTimer(long timestamp, OnTimerContext context, Collector<Row> out) throws Exception {
        Group group = Group.of(context.getCurrentKey());
        if (!evaluator.knows(group)) {
            // Its records were compacted away long after they were replaced, when nothing was left to do.
            memory.clear();
            waiting.clear();
            return;
        }
        if (memory.value() == null && !waiting.contains(timestamp)) {
            return; // A timer of what was forgotten.
        }
        State state = state();
        boolean ran = state.run != null;
        if (context.timeDomain() == TimeDomain.PROCESSING_TIME) {
            look(group, state, timestamp, out);
            ran = false; // So that it looks again if the run lasts.
        } else {
            judgeWaiting(group, state, timestamp, out);
            if (state.timerMillis != null && state.timerMillis <= timestamp) {
                state.timerMillis = null;
                evaluator.advance(group, state, timestamp).forEach(out::collect);
                if (evaluator.isForgotten(group, state, timestamp)) {
                    memory.clear();
                    return;
                }
            }
        }
        keep(group, state, ran, context.timerService());
    }

    @Override
    public void processBroadcastElement(RuleRecord record, Context context, Collector<Row> out) {
        if (RuleTopic.put(book, record)) {
            changedAt.put(record.scenario, context.currentProcessingTime());
        }
    }

    /** Ends the run of a rule that is no longer in force, once its last facts must be here. */
    private void look(Group group, State state, long nowMillis, Collector<Row> out) throws Exception {
        if (state.run == null
                || !evaluator.isOver(group)
                || nowMillis - changedAt.getOrDefault(group.scenario(), 0L) < LOOK_MILLIS) {
            return;
        }
        List<Long> times = new ArrayList<>();
        waiting.keys().forEach(times::add);
        times.sort(null);
        for (Long time : times) {
            judgeWaiting(group, state, time, out);
        }
        evaluator.advance(group, state, Long.MAX_VALUE - 1).forEach(out::collect);
    }

    private void judgeWaiting(Group group, State state, long arrivedMillis, Collector<Row> out) throws Exception {
        List<Observation> facts = waiting.get(arrivedMillis);
        if (facts == null) {
            return;
        }
        List<Observation> ordered = new ArrayList<>(facts);
        ordered.sort(Observation::inOrder);
        for (Observation fact : ordered) {
            evaluator.observe(group, state, fact).forEach(out::collect);
        }
        waiting.remove(arrivedMillis);
    }

    private State state() throws Exception {
        State state = memory.value();
        return state == null ? new State() : state;
    }

    private void keep(Group group, State state, boolean ran, TimerService timers) throws Exception {
        long next = evaluator.nextDeadline(group, state);
        if (next != Long.MAX_VALUE && (state.timerMillis == null || next < state.timerMillis)) {
            state.timerMillis = next;
            timers.registerEventTimeTimer(next);
        }
        if (state.run != null && !ran) {
            timers.registerProcessingTimeTimer(timers.currentProcessingTime() + LOOK_MILLIS);
        }
        memory.update(state);
    }
}
