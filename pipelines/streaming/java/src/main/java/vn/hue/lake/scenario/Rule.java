package vn.hue.lake.scenario;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;

/**
 * What a scenario asks for, as {@code lake scenarios publish} compiles it from its file.
 *
 * @param conditions in the order of the file
 * @param isAll whether all conditions must hold together, or any
 * @param withinMillis how long a fact counts for its group; null where a group has one series only
 * @param holdMillis how long the conditions must hold, by event time, before a run begins
 * @param clearsBySilence whether a run ends when nothing more arrives, and not when facts show the recovery
 * @param clearAfterMillis how long the recovery or silence must last
 * @param coolDownMillis how long after the end of a run no other begins
 * @param isSequenced whether facts come from several partitions and are put in the order of the arrival clock first
 * @param only the groups that count; null: all
 * @param output what goes into the rows of a run unchanged
 */
record Rule(
        List<Condition> conditions,
        boolean isAll,
        Long withinMillis,
        long holdMillis,
        boolean clearsBySilence,
        long clearAfterMillis,
        long coolDownMillis,
        boolean isSequenced,
        Set<String> only,
        Output output) {

    /**
     * What the rows of a run say of its scenario.
     *
     * @param names the names of groups, where a code list has them
     */
    record Output(
            String scopeKind,
            String agency,
            String severity,
            String headlineVi,
            String headlineEn,
            Map<String, String> names,
            List<Action> actions) {}

    /** What follows from a run; {@code dueMillis} and {@code detail} may be null. */
    record Action(String kind, String agency, Long dueMillis, String titleVi, String titleEn, JsonNode detail) {}

    /** Reads the compiled form; the compiler has checked it, so that anything missing here is a defect. */
    static Rule parse(JsonNode node) {
        List<Condition> conditions = new ArrayList<>();
        need(node, "conditions").forEach(each -> conditions.add(condition(each)));
        JsonNode clear = need(node, "clear");
        return new Rule(
                List.copyOf(conditions),
                need(node, "of").asText().equals("all"),
                node.hasNonNull("within_ms") ? node.get("within_ms").asLong() : null,
                need(node, "hold_ms").asLong(),
                need(clear, "on").asText().equals("silence"),
                need(clear, "after_ms").asLong(),
                need(node, "cool_down_ms").asLong(),
                need(node, "sequenced").asBoolean(),
                node.hasNonNull("only") ? texts(node.get("only")) : null,
                output(need(node, "output")));
    }

    private static Condition condition(JsonNode node) {
        Map<String, Set<String>> where = new HashMap<>();
        need(node, "where").properties().forEach(each -> where.put(each.getKey(), texts(each.getValue())));
        return new Condition(
                Condition.Kind.valueOf(need(node, "kind").asText().toUpperCase(Locale.ROOT)),
                need(node, "dataset").asText(),
                need(node, "topic").asText(),
                need(node, "event_time").asText(),
                node.path("field").asText(null),
                where,
                node.hasNonNull("series") ? List.copyOf(texts(node.get("series"))) : null,
                place(need(node, "group")),
                node.hasNonNull("ward") ? place(node.get("ward")) : null,
                node.hasNonNull("operator") ? Condition.Operator.of(node.get("operator").asText()) : null,
                number(node, "limit"),
                number(node, "clear_limit"),
                texts(node.path("words")),
                texts(node.path("before")),
                node.path("period_ms").asLong(),
                node.path("amount").asDouble(),
                node.hasNonNull("direction")
                        ? Condition.Direction.valueOf(node.get("direction").asText().toUpperCase(Locale.ROOT))
                        : null,
                need(node, "at_least").asInt(),
                need(node, "lag_ms").asLong());
    }

    private static Condition.Place place(JsonNode node) {
        return new Condition.Place(
                List.copyOf(texts(need(node, "fields"))), node.hasNonNull("codes") ? mapping(node.get("codes")) : null);
    }

    private static Output output(JsonNode node) {
        List<Action> actions = new ArrayList<>();
        for (JsonNode each : need(node, "actions")) {
            actions.add(new Action(
                    need(each, "kind").asText(),
                    each.path("agency").asText(null),
                    each.hasNonNull("due_ms") ? each.get("due_ms").asLong() : null,
                    each.path("title_vi").asText(null),
                    each.path("title_en").asText(null),
                    each.get("detail")));
        }
        return new Output(
                need(node, "scope_kind").asText(),
                need(node, "agency").asText(),
                need(node, "severity").asText(),
                need(node, "headline_vi").asText(),
                need(node, "headline_en").asText(),
                mapping(need(node, "names")),
                List.copyOf(actions));
    }

    private static JsonNode need(JsonNode node, String name) {
        JsonNode found = node.get(name);
        if (found == null) {
            throw new IllegalArgumentException("a rule without " + name + ": " + node);
        }
        return found;
    }

    private static Double number(JsonNode node, String name) {
        return node.hasNonNull(name) ? Double.valueOf(node.get(name).asText()) : null;
    }

    /** In the order of the file: fields that are joined to a key keep theirs. */
    private static Set<String> texts(JsonNode node) {
        Set<String> texts = new LinkedHashSet<>();
        node.forEach(each -> texts.add(each.asText()));
        return texts;
    }

    private static Map<String, String> mapping(JsonNode node) {
        Map<String, String> values = new HashMap<>();
        node.properties().forEach(each -> values.put(each.getKey(), each.getValue().asText()));
        return values;
    }

    /** Returns every field that a fact of this topic must be asked for. */
    Set<String> fields(String topic) {
        Set<String> fields = new HashSet<>();
        for (Condition each : conditions) {
            if (each.topic().equals(topic)) {
                fields.add(each.eventTime());
                fields.addAll(each.where().keySet());
                fields.addAll(each.group().fields());
                fields.addAll(each.series() == null ? List.of() : each.series());
                fields.addAll(each.ward() == null ? List.of() : each.ward().fields());
                if (each.field() != null) {
                    fields.add(each.field());
                }
            }
        }
        return fields;
    }
}
