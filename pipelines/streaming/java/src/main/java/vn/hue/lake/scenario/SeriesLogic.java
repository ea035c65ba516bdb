package vn.hue.lake.scenario;

import java.math.BigDecimal;
import java.util.Arrays;

/** Whether a condition holds for one series, as its facts arrive: the forms themselves. Plain Java: no clock, no Flink. */
final class SeriesLogic {

    /** So many points of a delta are kept; of more, the oldest are dropped and the period is shorter. */
    static final int MAX_POINTS = 256;
    /** A sum of decimals is not exact as a double: less than this is no difference. */
    private static final double EPSILON = 1e-9;

    private SeriesLogic() {}

    /** Whether a value can be judged: an absence needs none, a change any, the rest a number where one is compared. */
    static boolean isUsable(Condition condition, String value) {
        if (condition.kind() == Condition.Kind.ABSENCE) {
            return true;
        }
        if (value == null || !condition.isNumeric()) {
            return value != null;
        }
        try {
            return Double.isFinite(Double.parseDouble(value));
        } catch (NumberFormatException e) {
            return false;
        }
    }

    /** Takes in a usable fact that is not older than the newest. */
    static void observe(Condition condition, State.Series series, Observation fact) {
        boolean isMet = switch (condition.kind()) {
            case THRESHOLD -> threshold(condition, series, fact);
            case CHANGE -> change(condition, series, fact);
            case DELTA -> delta(condition, series, fact);
            case FROZEN -> frozen(condition, series, fact);
            case ABSENCE -> false;
        };
        series.isMet = isMet;
        if (isMet) {
            series.metMillis = fact.eventMillis;
        }
    }

    /** A value that has met the limit meets it until it passes the limit for clearing. */
    private static boolean threshold(Condition condition, State.Series series, Observation fact) {
        if (condition.limit() == null) {
            boolean isOneOf = condition.words().contains(fact.value);
            return (condition.operator() == Condition.Operator.NOT_EQUAL) != isOneOf;
        }
        double value = Double.parseDouble(fact.value);
        double limit = series.isMet && condition.clearLimit() != null ? condition.clearLimit() : condition.limit();
        return condition.operator().holds(value, limit);
    }

    /** Holds from a change on, while the value stays what it became. */
    private static boolean change(Condition condition, State.Series series, Observation fact) {
        String old = series.value;
        if (fact.value.equals(old)) {
            return series.isMet && !condition.words().isEmpty();
        }
        if (old == null) {
            return false;
        }
        series.before = old;
        series.beforeMillis = series.newestMillis;
        return (condition.words().isEmpty() || condition.words().contains(fact.value))
                && (condition.before().isEmpty() || condition.before().contains(old));
    }

    /** Compares with the lowest and highest value of the period. */
    private static boolean delta(Condition condition, State.Series series, Observation fact) {
        double value = Double.parseDouble(fact.value);
        int first = 0;
        while (first < series.times.length && series.times[first] < fact.eventMillis - condition.periodMillis()) {
            first++;
        }
        int end = series.times.length;
        while (end > first && series.times[end - 1] >= fact.eventMillis) {
            end--; // A correction of the newest takes its place.
        }
        first = Math.max(first, end - MAX_POINTS + 1);
        int lowest = -1;
        int highest = -1;
        for (int i = first; i < end; i++) {
            lowest = lowest < 0 || series.values[i] < series.values[lowest] ? i : lowest;
            highest = highest < 0 || series.values[i] > series.values[highest] ? i : highest;
        }
        boolean rises = lowest >= 0 && value - series.values[lowest] >= condition.amount() - EPSILON;
        boolean falls = highest >= 0 && series.values[highest] - value >= condition.amount() - EPSILON;
        boolean isMet = switch (condition.direction()) {
            case RISE -> rises;
            case FALL -> falls;
            case EITHER -> rises || falls;
        };
        if (isMet) {
            int from = rises && condition.direction() != Condition.Direction.FALL ? lowest : highest;
            series.before = text(series.values[from]);
            series.beforeMillis = series.times[from];
        }
        series.times = append(Arrays.copyOfRange(series.times, first, end), fact.eventMillis);
        series.values = append(Arrays.copyOfRange(series.values, first, end), value);
        return isMet;
    }

    /** Holds once the value has moved by no more than the tolerance for the whole period. */
    private static boolean frozen(Condition condition, State.Series series, Observation fact) {
        double value = Double.parseDouble(fact.value);
        double low = series.values.length == 0 ? value : Math.min(series.values[0], value);
        double high = series.values.length == 0 ? value : Math.max(series.values[1], value);
        if (series.times.length == 0 || high - low > condition.amount() + EPSILON) {
            series.times = new long[] {fact.eventMillis};
            series.values = new double[] {value, value};
            return false;
        }
        series.values = new double[] {low, high};
        series.beforeMillis = series.times[0];
        return fact.eventMillis - series.times[0] >= condition.periodMillis();
    }

    private static long[] append(long[] values, long value) {
        long[] longer = Arrays.copyOf(values, values.length + 1);
        longer[values.length] = value;
        return longer;
    }

    private static double[] append(double[] values, double value) {
        double[] longer = Arrays.copyOf(values, values.length + 1);
        longer[values.length] = value;
        return longer;
    }

    /** A number as the contracts write it: without an exponent and without a fraction that is none. */
    static String text(double value) {
        return new BigDecimal(Double.toString(value)).stripTrailingZeros().toPlainString();
    }
}
