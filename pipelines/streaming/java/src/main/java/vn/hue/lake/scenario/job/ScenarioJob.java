package vn.hue.lake.scenario.job;

import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.datastream.BroadcastStream;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import vn.hue.lake.scenario.Fact;
import vn.hue.lake.scenario.Observation;
import vn.hue.lake.scenario.Row;

/**
 * The job {@code scenarios}: all clean, aggregate and alert topics of a namespace, judged by the rules of {@code
 * scenario.rule}, to the topics of runs, outcomes and changes. Rules are data: no rule, and no new topic, restarts it.
 */
public final class ScenarioJob {

    private static final String RULES = "scenario.rule";
    /** How long a new topic may wait for its first fact to be judged. */
    private static final String DISCOVERY_MILLIS = "30000";
    /** How far records of one partition may stand out of order by the arrival clock; as in every other job. */
    private static final Duration SLACK = Duration.ofSeconds(10);
    /** The clock does not wait longer for a partition that is silent. */
    private static final Duration IDLE = Duration.ofSeconds(10);

    private ScenarioJob() {}

    /**
     * Builds the job and submits it detached; returns its id.
     *
     * @param argument JSON: {@code bootstrap} of Kafka, {@code prefix} of the namespace's topics, {@code group}, {@code
     *     name}, and {@code lags_ms} by aggregate topic: how much later than its inputs a record arrives
     */
    public static String submit(Configuration configuration, String argument) throws Exception {
        JsonNode node = new ObjectMapper().readTree(argument);
        try (StreamExecutionEnvironment environment = new StreamExecutionEnvironment(configuration)) {
            build(environment, node);
            return environment.executeAsync(node.get("name").asText()).getJobID().toHexString();
        }
    }

    private static void build(StreamExecutionEnvironment environment, JsonNode argument) throws IOException {
        String bootstrap = argument.get("bootstrap").asText();
        String prefix = argument.get("prefix").asText();
        String group = argument.get("group").asText();
        RuleTopic topic = new RuleTopic(bootstrap, prefix + RULES);

        DataStream<Fact> facts = environment
                .fromSource(facts(bootstrap, prefix, group), clock(argument.get("lags_ms")), "facts")
                .uid("facts");
        BroadcastStream<RuleRecord> rules = environment
                .fromSource(rules(bootstrap, prefix, group), WatermarkStrategy.forGenerator(each -> new NoClock()), "rules")
                .uid("rules")
                // Nothing is kept in the broadcast state: every operator reads the whole topic when it opens.
                .broadcast(new MapStateDescriptor<>("rules", Types.STRING, Types.LONG));
        SingleOutputStreamOperator<Observation> observations =
                facts.connect(rules).process(new MatchFunction(topic)).name("match").uid("match");
        SingleOutputStreamOperator<Row> rows = observations
                .keyBy(each -> each.place().key())
                .connect(rules)
                .process(new EvaluateFunction(topic))
                .name("evaluate")
                .uid("evaluate");
        rows.union(observations.getSideOutput(MatchFunction.CHANGES))
                .sinkTo(sink(bootstrap, prefix))
                .name("rows")
                .uid("rows");
    }

    private static KafkaSource<Fact> facts(String bootstrap, String prefix, String group) {
        // Its own rows are no facts: a rule that fires on a run could fire on itself for ever.
        String names = "(?:(?:clean|agg)\\.[a-z0-9_]+|alert\\.(?!scenario_)[a-z0-9_]+)";
        return KafkaSource.<Fact>builder()
                .setBootstrapServers(bootstrap)
                .setTopicPattern(Pattern.compile(Pattern.quote(prefix) + names))
                .setGroupId(group)
                .setClientIdPrefix(group + ".facts")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Formats.Facts(prefix))
                .setProperty("partition.discovery.interval.ms", DISCOVERY_MILLIS)
                .build();
    }

    private static KafkaSource<RuleRecord> rules(String bootstrap, String prefix, String group) {
        return KafkaSource.<RuleRecord>builder()
                .setBootstrapServers(bootstrap)
                .setTopics(prefix + RULES)
                .setGroupId(group)
                .setClientIdPrefix(group + ".rules")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Formats.Rules())
                .setProperty("partition.discovery.interval.ms", "-1")
                .build();
    }

    private static KafkaSink<Row> sink(String bootstrap, String prefix) {
        Properties properties = new Properties();
        properties.put("acks", "all");
        properties.put("linger.ms", "5");
        properties.put("compression.type", "lz4");
        return KafkaSink.<Row>builder()
                .setBootstrapServers(bootstrap)
                .setKafkaProducerConfig(properties)
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .setRecordSerializer(new Formats.Rows(prefix))
                .build();
    }

    /** The arrival clock. An aggregate waits for its window: it counts as arrived when its contract promises it. */
    private static WatermarkStrategy<Fact> clock(JsonNode lags) {
        Map<String, Long> lagMillis = new HashMap<>();
        lags.properties().forEach(each -> lagMillis.put(each.getKey(), each.getValue().asLong()));
        return WatermarkStrategy.<Fact>forBoundedOutOfOrderness(SLACK)
                .withTimestampAssigner((fact, timestamp) ->
                        fact.receivedMillis + lagMillis.getOrDefault(fact.topic, 0L))
                .withIdleness(IDLE);
    }

    /**
     * Rules have no part in the arrival clock: they neither hold it back nor drive it. Idle, and not at the end of time: as
     * soon as all facts were idle, the end of time would be the clock.
     */
    private static final class NoClock implements WatermarkGenerator<RuleRecord> {

        @Override
        public void onEvent(RuleRecord record, long timestamp, WatermarkOutput output) {}

        @Override
        public void onPeriodicEmit(WatermarkOutput output) {
            output.markIdle();
        }
    }
}
