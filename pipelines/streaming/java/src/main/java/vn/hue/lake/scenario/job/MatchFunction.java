package vn.hue.lake.scenario.job;

import java.io.IOException;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.streaming.api.functions.co.BroadcastProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;
import vn.hue.lake.scenario.Fact;
import vn.hue.lake.scenario.Matcher;
import vn.hue.lake.scenario.Observation;
import vn.hue.lake.scenario.Row;
import vn.hue.lake.scenario.RuleBook;
import vn.hue.lake.scenario.Rows;

/** Facts to what they mean to the conditions in force; every record of the topic of rules to a row of its own. */
final class MatchFunction extends BroadcastProcessFunction<Fact, RuleRecord, Observation> {

    private static final long serialVersionUID = 1L;
    /** Changes of rules. */
    static final OutputTag<Row> CHANGES = new OutputTag<>("changes") {};

    private final RuleTopic topic;
    private transient RuleBook book;
    private transient Matcher matcher;

    MatchFunction(RuleTopic topic) {
        this.topic = topic;
    }

    @Override
    public void open(OpenContext context) {
        book = new RuleBook();
        topic.read(book);
        matcher = new Matcher(book);
        getRuntimeContext().getMetricGroup().gauge("unreadable", () -> matcher.unreadable());
        getRuntimeContext().getMetricGroup().gauge("unplaced", () -> matcher.unplaced());
    }

    @Override
    public void processElement(Fact fact, ReadOnlyContext context, Collector<Observation> out) {
        matcher.match(fact).forEach(out::collect);
    }

    @Override
    public void processBroadcastElement(RuleRecord record, Context context, Collector<Observation> out)
            throws IOException {
        RuleTopic.put(book, record);
        if (record.value != null) {
            context.output(CHANGES, Rows.change(record.scenario, record.offset, record.timestampMillis, record.value));
        }
    }
}
