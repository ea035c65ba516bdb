package vn.hue.lake.flink;

import java.io.Serializable;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.DeserializationFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * The stateful QARTOD tests of one dataset, as its contract declares them.
 *
 * <p>Written as JSON: {@code {"event_time": "observed_at", "entity": "station_id", "cadence_ms": 600000, "keep_ms":
 * 43800000, "gap": {"suspect_ms": …, "fail_ms": …}, "fields": {"stage_m": {"spike": {"window_ms": …, "suspect": "0.5",
 * "fail": "1.5"}, "rate_of_change": {…}, "flat_line": {"tolerance": "0", "suspect_ms": …, "fail_ms": …, "except": […]},
 * "attenuated_signal": {"window_ms": …, "suspect": …, "fail": …}}}, "overrides": [{"entity": "HUE-TN", "field":
 * "stage_m", "test": "spike", "suspect": "1", "fail": "3"}]}}. Limits are numbers in the field's unit, of a rate per hour;
 * without a limit nothing is flagged so.
 */
final class QualityRules implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final ObjectMapper MAPPER =
            new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    /** Limits in whole units of the field's last digit; NULL where there is none. */
    record Limit(Long suspect, Long fail) implements Serializable {}

    /** A test of a value against those of the window before it; limits may differ by entity. */
    static final class Windowed implements Serializable {

        private static final long serialVersionUID = 1L;

        private final long windowMillis;
        private final Limit common;
        private final HashMap<String, Limit> own = new HashMap<>();

        private Windowed(long windowMillis, Limit common) {
            this.windowMillis = windowMillis;
            this.common = common;
        }

        long windowMillis() {
            return windowMillis;
        }

        Limit of(String entity) {
            return own.getOrDefault(entity, common);
        }
    }

    /** How long a value may stay within the tolerance; excepted values may stay for ever. */
    record FlatLine(long tolerance, Long suspectMillis, Long failMillis, List<Long> except) implements Serializable {}

    /** The tests of one field; NULL where one is not declared. */
    record Field(
            String name,
            int scale,
            Windowed spike,
            Windowed rateOfChange,
            FlatLine flatLine,
            Windowed attenuatedSignal)
            implements Serializable {}

    private final String eventTime;
    private final String entity;
    private final long cadenceMillis;
    private final long keepMillis;
    private final Limit gap;
    private final ArrayList<Field> fields = new ArrayList<>();

    private QualityRules(JsonNode root) {
        eventTime = text(root, "event_time");
        entity = root.hasNonNull("entity") ? text(root, "entity") : null;
        cadenceMillis = positive(root, "cadence_ms");
        keepMillis = positive(root, "keep_ms");
        gap = root.has("gap") ? new Limit(millis(root.get("gap"), "suspect_ms"), millis(root.get("gap"), "fail_ms")) : null;
    }

    /** The column of the event time, after which the gap test is called. */
    String eventTime() {
        return eventTime;
    }

    /** The column whose value chooses limits of their own; NULL when no entity has any. */
    String entity() {
        return entity;
    }

    long cadenceMillis() {
        return cadenceMillis;
    }

    /** How far back of the newest reading the others are kept. */
    long keepMillis() {
        return keepMillis;
    }

    /** In milliseconds; NULL when the test is not declared. */
    Limit gap() {
        return gap;
    }

    List<Field> fields() {
        return fields;
    }

    /** The number of digits after the point with which a field is compared. */
    interface Scales {
        int of(String field);
    }

    /**
     * Parses the tests.
     *
     * @throws IllegalArgumentException saying what is wrong and where
     */
    static QualityRules parse(String json, Scales scales) {
        JsonNode root;
        try {
            root = MAPPER.readTree(json);
        } catch (JsonProcessingException e) {
            throw new IllegalArgumentException("the tests are no JSON: " + e.getOriginalMessage(), e);
        }
        QualityRules rules = new QualityRules(root);
        JsonNode declared = root.path("fields");
        for (Map.Entry<String, JsonNode> each : declared.properties()) {
            rules.fields.add(field(each.getKey(), each.getValue(), scales.of(each.getKey())));
        }
        for (JsonNode override : root.path("overrides")) {
            rules.override(override);
        }
        if (rules.gap == null && rules.fields.isEmpty()) {
            throw new IllegalArgumentException("no test is declared");
        }
        return rules;
    }

    private static Field field(String name, JsonNode tests, int scale) {
        JsonNode flat = tests.get("flat_line");
        FlatLine flatLine = null;
        if (flat != null) {
            ArrayList<Long> except = new ArrayList<>();
            flat.path("except").forEach(value -> except.add(units(value.asText(), scale)));
            flatLine = new FlatLine(
                    units(text(flat, "tolerance"), scale), millis(flat, "suspect_ms"), millis(flat, "fail_ms"), except);
        }
        return new Field(
                name,
                scale,
                windowed(tests.get("spike"), scale),
                windowed(tests.get("rate_of_change"), scale),
                flatLine,
                windowed(tests.get("attenuated_signal"), scale));
    }

    private static Windowed windowed(JsonNode test, int scale) {
        return test == null ? null : new Windowed(positive(test, "window_ms"), limit(test, scale));
    }

    private static Limit limit(JsonNode node, int scale) {
        Limit limit = new Limit(
                node.hasNonNull("suspect") ? units(text(node, "suspect"), scale) : null,
                node.hasNonNull("fail") ? units(text(node, "fail"), scale) : null);
        if (limit.suspect == null && limit.fail == null) {
            throw new IllegalArgumentException("neither `suspect` nor `fail` is given in " + node);
        }
        return limit;
    }

    private void override(JsonNode node) {
        String name = text(node, "field");
        String test = text(node, "test");
        for (Field field : fields) {
            Windowed changed = !field.name.equals(name)
                    ? null
                    : switch (test) {
                        case "spike" -> field.spike;
                        case "rate_of_change" -> field.rateOfChange;
                        case "attenuated_signal" -> field.attenuatedSignal;
                        default -> null;
                    };
            if (changed != null && entity != null) {
                changed.own.put(text(node, "entity"), limit(node, field.scale));
                return;
            }
        }
        throw new IllegalArgumentException("limits of an entity for a test that is not declared: " + node);
    }

    private static String text(JsonNode node, String name) {
        if (!node.hasNonNull(name)) {
            throw new IllegalArgumentException("`" + name + "` is missing in " + node);
        }
        return node.get(name).asText();
    }

    private static long positive(JsonNode node, String name) {
        Long value = millis(node, name);
        if (value == null) {
            throw new IllegalArgumentException("`" + name + "` is missing in " + node);
        }
        return value;
    }

    private static Long millis(JsonNode node, String name) {
        if (!node.hasNonNull(name)) {
            return null;
        }
        long value = node.get(name).asLong();
        if (value <= 0) {
            throw new IllegalArgumentException("`" + name + "` must be above 0 in " + node);
        }
        return value;
    }

    /** A number as whole units of the field's last digit. */
    private static long units(String number, int scale) {
        try {
            return new BigDecimal(number).movePointRight(scale).longValueExact();
        } catch (ArithmeticException e) {
            throw new IllegalArgumentException(number + " has more than " + scale + " digits after the point", e);
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException("'" + number + "' is no number", e);
        }
    }
}
