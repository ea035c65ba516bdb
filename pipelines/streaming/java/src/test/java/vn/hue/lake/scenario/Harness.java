package vn.hue.lake.scenario;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/** Feeds facts of made-up datasets to the engine, minute by minute, and tells the runs. */
final class Harness {

    static final Instant START = Instant.parse("2025-10-27T00:00:00Z");
    private static final ObjectMapper JSON = new ObjectMapper();

    final RuleBook book = new RuleBook();
    private final ByteArrayOutputStream printed = new ByteArrayOutputStream();
    private final DryRun engine = new DryRun(book, new PrintStream(printed, true, StandardCharsets.UTF_8));
    private long offset;

    static JsonNode json(String text) {
        try {
            return JSON.readTree(text);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A rule for the scenario {@code s}: {@code parts} is JSON in single quotes that overrides the defaults. */
    static String rule(String parts) {
        try {
            JsonNode own = JSON.readTree(parts.replace('\'', '"'));
            Map<String, Object> rule = new LinkedHashMap<>();
            rule.put("of", "all");
            rule.put("within_ms", null);
            rule.put("hold_ms", 0);
            rule.put("clear", Map.of("on", "recovery", "after_ms", 0));
            rule.put("cool_down_ms", 0);
            rule.put("sequenced", false);
            rule.put("only", null);
            Map<String, Object> output = new LinkedHashMap<>();
            output.put("scope_kind", "entity");
            output.put("agency", "H57.NNMT");
            output.put("severity", "high");
            output.put("headline_vi", "{scope}: {before} → {value} ({count}) lúc {at}");
            output.put("headline_en", "{scope}");
            output.put("names", Map.of("k", "Kim Long"));
            output.put("actions", List.of(Map.of("kind", "alert", "agency", "H57.NNMT")));
            rule.put("output", output);
            own.properties().forEach(each -> rule.put(each.getKey(), each.getValue()));
            List<Object> conditions = new ArrayList<>();
            for (JsonNode each : own.get("conditions")) {
                Map<String, Object> condition = new LinkedHashMap<>();
                condition.put("dataset", "stage");
                condition.put("topic", "clean.stage");
                condition.put("event_time", "observed_at");
                condition.put("field", "value");
                condition.put("where", Map.of());
                condition.put("series", null);
                condition.put("group", Map.of("fields", List.of("id")));
                condition.put("ward", null);
                condition.put("at_least", 1);
                condition.put("lag_ms", 0);
                each.properties().forEach(one -> condition.put(one.getKey(), one.getValue()));
                conditions.add(condition);
            }
            rule.put("conditions", conditions);
            return JSON.writeValueAsString(rule);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Puts the rule on the topic, in force after this minute of the arrival clock; null is from the beginning. */
    Harness publish(String rule, boolean isEnabled, Integer afterMinute) {
        String from = afterMinute == null ? "null" : '"' + time(afterMinute).toString() + '"';
        String record = "{\"enabled\":" + isEnabled + ",\"rule_hash\":\"" + rule.hashCode() + "\",\"from\":{\"stage\":" + from
                + ",\"rain\":" + from + "},\"rule\":" + rule + "}";
        try {
            book.put("s", offset++, record.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return this;
    }

    static Harness of(String parts) {
        return new Harness().publish(rule(parts), true, null);
    }

    static Instant time(double minute) {
        return START.plus(Duration.ofSeconds(Math.round(minute * 60)));
    }

    /** A fact of the dataset stage about {@code id}, which arrives when it happens. */
    Harness fact(double minute, String id, Object value) {
        return fact("clean.stage", minute, minute, id, value, "");
    }

    /** A fact that arrives at another minute than it happens; {@code more} is further JSON that begins with a comma. */
    Harness fact(String topic, double eventMinute, double arrivalMinute, String id, Object value, String more) {
        return take(topic, record(eventMinute, id, value, more), time(arrivalMinute), offset++);
    }

    static String record(double eventMinute, String id, Object value, String more) {
        String text = value instanceof String ? '"' + value.toString() + '"' : String.valueOf(value);
        return "{\"id\":\"" + id + "\",\"observed_at\":\"" + time(eventMinute) + "\",\"value\":" + text
                + ",\"origin\":\"replay\"" + more.replace('\'', '"') + "}";
    }

    /** The record with its place in the raw topic, which an aggregate has not. */
    static String placed(String record, long at) {
        return record.substring(0, record.length() - 1) + ",\"raw_partition\":0,\"raw_offset\":" + at + "}";
    }

    Harness take(String topic, String record, Instant arrival, long at) {
        String value = topic.startsWith("clean.") ? placed(record, at) : record;
        Fact fact = new Fact(topic, 0, at, arrival.toEpochMilli(), value.getBytes(StandardCharsets.UTF_8));
        try {
            engine.take(fact);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return this;
    }

    /** Lets the arrival clock pass to this minute. */
    Harness pass(double minute) {
        try {
            engine.pass(time(minute).toEpochMilli());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return this;
    }

    /** Every row so far. */
    List<JsonNode> rows() {
        List<JsonNode> rows = new ArrayList<>();
        for (String line : printed.toString(StandardCharsets.UTF_8).split("\n")) {
            if (!line.isBlank()) {
                try {
                    rows.add(JSON.readTree(line));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        }
        return rows;
    }

    List<JsonNode> runRows() {
        return rows().stream()
                .filter(each -> each.get("topic").asText().equals(Rows.RUNS))
                .map(each -> each.get("value"))
                .toList();
    }

    /** The runs as {@code group begin-end reason}, in minutes; one that lasts has neither end nor reason. */
    List<String> runs() {
        Map<String, String> runs = new LinkedHashMap<>();
        for (JsonNode row : runRows()) {
            String end = row.has("ended_at") ? minute(row, "ended_at") + " " + row.get("end_reason").asText() : "";
            runs.put(
                    row.get("run_id").asText(),
                    row.get("scope_key").asText() + " " + minute(row, "started_at") + "-" + end);
        }
        return List.copyOf(runs.values());
    }

    private static String minute(JsonNode row, String name) {
        Instant at = Instant.parse(row.get(name).asText());
        return SeriesLogic.text(Duration.between(START, at).toMillis() / 60_000.0);
    }
}
