package vn.hue.lake.scenario;

import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One condition of a scenario over the facts of one dataset: the closed set of forms.
 *
 * @param kind which form it is
 * @param dataset the dataset whose facts it looks at
 * @param topic its topic, without the namespace
 * @param eventTime the field that holds a fact's event time
 * @param field the field that is judged; null for an absence
 * @param where facts count only where each of these fields has one of these values
 * @param series the fields that tell one series of facts from another; null: all facts of a group are one series
 * @param group how a fact finds its group
 * @param ward how a fact finds its ward; null if it has none
 * @param operator how the value is compared; of a threshold only
 * @param limit what a number is compared with; null where {@code words} are compared
 * @param clearLimit what the number must pass again before the condition ends; null: {@code limit}
 * @param words the texts that are compared, or those that a change must lead to (empty: any)
 * @param before the texts from which a change must come; empty: any
 * @param periodMillis over which a delta is taken, or for how long a value is frozen or facts are absent
 * @param amount how much a value must have changed for a delta, or may change while it is frozen
 * @param direction of a delta
 * @param atLeast so many series of the group must meet the condition
 * @param lagMillis how much later than its inputs a fact arrives: 0 but for aggregates, which wait for their window
 */
record Condition(
        Kind kind,
        String dataset,
        String topic,
        String eventTime,
        String field,
        Map<String, Set<String>> where,
        List<String> series,
        Place group,
        Place ward,
        Operator operator,
        Double limit,
        Double clearLimit,
        Set<String> words,
        Set<String> before,
        long periodMillis,
        double amount,
        Direction direction,
        int atLeast,
        long lagMillis) {

    /** The forms of a condition. */
    enum Kind {
        THRESHOLD,
        CHANGE,
        DELTA,
        FROZEN,
        ABSENCE
    }

    /** How a threshold compares. */
    enum Operator {
        LESS("<"),
        LESS_OR_EQUAL("<="),
        GREATER(">"),
        GREATER_OR_EQUAL(">="),
        EQUAL("=="),
        NOT_EQUAL("!=");

        private final String text;

        Operator(String text) {
            this.text = text;
        }

        static Operator of(String text) {
            for (Operator each : values()) {
                if (each.text.equals(text)) {
                    return each;
                }
            }
            throw new IllegalArgumentException("unknown operator " + text);
        }

        boolean holds(double value, double limit) {
            return switch (this) {
                case LESS -> value < limit;
                case LESS_OR_EQUAL -> value <= limit;
                case GREATER -> value > limit;
                case GREATER_OR_EQUAL -> value >= limit;
                case EQUAL -> value == limit;
                case NOT_EQUAL -> value != limit;
            };
        }
    }

    /** In which direction a delta counts. */
    enum Direction {
        RISE,
        FALL,
        EITHER
    }

    /**
     * How a fact finds its group or ward: its fields joined by {@code |}, looked up in {@code codes} if there are any.
     * Without fields all facts are in one place, the city.
     */
    record Place(List<String> fields, Map<String, String> codes) {

        static final String CITY = "city";

        /** Returns the place, or null if a field is not known or its code has none. */
        String of(Map<String, String> values) {
            if (fields.isEmpty()) {
                return CITY;
            }
            String key = joined(fields, values);
            return key == null || codes == null ? key : codes.get(key);
        }
    }

    /** Whether it judges numbers, and not words or that anything came at all. */
    boolean isNumeric() {
        return switch (kind) {
            case THRESHOLD -> limit != null;
            case DELTA, FROZEN -> true;
            case CHANGE, ABSENCE -> false;
        };
    }

    /** Returns the values of the fields joined by {@code |}, or null if one is not known. */
    static String joined(List<String> fields, Map<String, String> values) {
        StringBuilder text = new StringBuilder();
        for (String field : fields) {
            String value = values.get(field);
            if (value == null) {
                return null;
            }
            text.append(text.isEmpty() ? "" : "|").append(value);
        }
        return text.toString();
    }
}
