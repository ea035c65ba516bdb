package vn.hue.lake.scenario;

import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/** Which facts a run rests on, in words and as JSON: dataset, series, time, value and the raw record of each. */
final class Evidence {

    private static final int MAX_FACTS = 5;
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final DateTimeFormatter LOCAL =
            DateTimeFormatter.ofPattern("dd/MM HH:mm").withZone(ZoneId.of("Asia/Ho_Chi_Minh"));

    private final Rule rule;
    private final String group;
    private final List<List<State.Series>> series;

    /** @param series by condition, those that prove something */
    Evidence(Rule rule, String group, List<List<State.Series>> series) {
        this.rule = rule;
        this.group = group;
        this.series = series;
    }

    /** The common origin of the facts; {@code mixed} if they have several. */
    String origin() {
        String found = null;
        for (List<State.Series> each : series) {
            for (State.Series one : each) {
                if (found != null && !found.equals(one.origin)) {
                    return "mixed";
                }
                found = one.origin;
            }
        }
        return found;
    }

    /** The ward of the group, or of the first fact that has one. */
    String ward() {
        if (rule.output().scopeKind().equals("ward")) {
            return group;
        }
        for (List<State.Series> each : series) {
            for (State.Series one : each) {
                if (one.ward != null) {
                    return one.ward;
                }
            }
        }
        return null;
    }

    /** Fills {@code {scope} {value} {before} {count} {at}} of a headline; what is not known is a dash. */
    String headline(String text, long atMillis) {
        State.Series first = null;
        int count = 0;
        for (List<State.Series> each : series) {
            count += each.size();
            first = first == null && !each.isEmpty() ? each.get(0) : first;
        }
        Map<String, String> words = Map.of(
                "{scope}", rule.output().names().getOrDefault(group, group),
                "{value}", first == null || first.value == null ? "—" : first.value,
                "{before}", first == null || first.before == null ? "—" : first.before,
                "{count}", Integer.toString(count),
                "{at}", LOCAL.format(Instant.ofEpochMilli(atMillis)));
        String filled = text;
        for (Map.Entry<String, String> each : words.entrySet()) {
            filled = filled.replace(each.getKey(), each.getValue());
        }
        return filled;
    }

    /** The facts by condition, at most {@value #MAX_FACTS} of each, and how many facts were not looked at. */
    String json(long ignored) {
        ObjectNode node = JSON.createObjectNode();
        ArrayNode conditions = node.putArray("conditions");
        for (int i = 0; i < series.size(); i++) {
            Condition condition = rule.conditions().get(i);
            ObjectNode one = conditions.addObject();
            one.put("dataset", condition.dataset());
            if (condition.field() != null) {
                one.put("field", condition.field());
            }
            one.put("count", series.get(i).size());
            ArrayNode facts = one.putArray("facts");
            series.get(i).stream().limit(MAX_FACTS).forEach(each -> fact(facts.addObject(), each));
        }
        if (ignored > 0) {
            node.put("ignored", ignored);
        }
        try {
            return JSON.writeValueAsString(node);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private void fact(ObjectNode node, State.Series series) {
        node.put("series", series.key.isEmpty() ? group : series.key);
        node.put("event_at", Instant.ofEpochMilli(series.newestMillis).toString());
        if (series.value != null) {
            node.put("value", series.value);
        }
        if (series.before != null) {
            node.put("before", series.before);
        }
        if (series.beforeMillis != null) {
            node.put("before_at", Instant.ofEpochMilli(series.beforeMillis).toString());
        }
        if (series.rawOffset != null) {
            node.put("raw_partition", series.rawPartition);
            node.put("raw_offset", series.rawOffset);
        }
    }
}
