package vn.hue.lake.flink;

import java.util.Arrays;

/**
 * The QARTOD tests that need more than one reading, evaluated as the readings of one entity arrive. Plain Java: no clock,
 * no Flink.
 *
 * <p>A reading is compared with those before it in event time that are still kept, whenever it arrives; a late one that is
 * older than what is kept is not evaluated (2). The tests of a field without a value are missing (9). What was said of a
 * reading is never changed by a later one. Of readings of one time the newest revision is kept.
 *
 * <ul>
 *   <li><b>gap</b>: the time since the reading before;
 *   <li><b>spike</b>: the distance from the median of the usable values in the window before, of three at least;
 *   <li><b>rate of change</b>: per hour, since the last value in the window that was usable and no outlier;
 *   <li><b>flat line</b>: for how long the values stayed within the tolerance, up to and with this one;
 *   <li><b>attenuated signal</b>: the range of the values in the window, which must be covered.
 * </ul>
 */
final class QualityTestsLogic {

    static final int PASS = 1;
    static final int NOT_EVALUATED = 2;
    static final int SUSPECT = 3;
    static final int FAIL = 4;
    static final int MISSING = 9;

    /** The median of fewer values says nothing. */
    static final int MIN_VALUES = 3;
    /** So many periods without a reading are a hole: what the sensor did there is not known. */
    static final int HOLE_PERIODS = 3;
    /** A window is covered when it holds this share of the readings that were due. */
    static final double MIN_COVERAGE = 0.8;

    private static final double HOUR_MILLIS = 3_600_000.0;

    /** What is remembered of an entity; a public field as Flink's state wants it. */
    public static class State {
        /** See {@link ReadingHistory}; NULL before the first reading. */
        public byte[] history;
    }

    /**
     * One reading: of each field the value in units of its last digit and its marks, of the whole the flag and the detail
     * that the stateless tests gave it.
     */
    record Reading(String entity, long atMillis, int revision, long[] values, byte[] marks, int flag, String detail) {}

    /** The aggregated flag, and the tests that did not pass in words, NULL if all passed. */
    record Result(int flag, String detail) {}

    private final QualityRules rules;
    private final QualityRules.Field[] fields;
    private final long holeMillis;

    QualityTestsLogic(QualityRules rules) {
        this.rules = rules;
        fields = rules.fields().toArray(new QualityRules.Field[0]);
        holeMillis = HOLE_PERIODS * rules.cadenceMillis();
    }

    /** Which of two flags stands for both: fail, suspect, missing, pass, not evaluated. */
    static int worst(int one, int other) {
        return rank(one) >= rank(other) ? one : other;
    }

    private static int rank(int flag) {
        return switch (flag) {
            case FAIL -> 4;
            case SUSPECT -> 3;
            case MISSING -> 2;
            case PASS -> 1;
            case NOT_EVALUATED -> 0;
            default -> throw new IllegalArgumentException(flag + " is no QARTOD flag");
        };
    }

    /** Tests one reading and remembers it. */
    Result evaluate(State state, Reading reading) {
        ReadingHistory history = ReadingHistory.of(state.history, fields.length);
        int newest = history.size() - 1;
        boolean isForgotten = newest >= 0 && reading.atMillis < history.atMillis(newest) - rules.keepMillis();
        int before = isForgotten ? 0 : history.before(reading.atMillis);
        Said said = new Said(reading);
        if (rules.gap() != null) {
            said.add(rules.eventTime(), "gap", gap(history, before, reading));
        }
        byte[] marks = reading.marks.clone();
        for (int f = 0; f < fields.length; f++) {
            if ((reading.marks[f] & ReadingHistory.ABSENT) == 0) {
                marks[f] |= field(said, history, before, reading, f);
            } else {
                said.missing(fields[f]);
            }
        }
        if (!isForgotten) {
            history.put(reading.atMillis, reading.revision, reading.values, marks);
            history.forgetBefore(history.atMillis(history.size() - 1) - rules.keepMillis());
            state.history = history.toBytes();
        }
        return said.result();
    }

    /** Runs the tests of one field and returns the marks that they add. */
    private byte field(Said said, ReadingHistory history, int before, Reading reading, int f) {
        QualityRules.Field field = fields[f];
        boolean isOutlier = false;
        if (field.spike() != null) {
            int flag = spike(history, before, reading, f, field.spike());
            isOutlier = said.add(field.name(), "spike", flag);
        }
        if (field.rateOfChange() != null) {
            int flag = rateOfChange(history, before, reading, f, field.rateOfChange());
            isOutlier |= said.add(field.name(), "rate_of_change", flag);
        }
        if (field.flatLine() != null) {
            said.add(field.name(), "flat_line", flatLine(history, before, reading, f, field.flatLine()));
        }
        if (field.attenuatedSignal() != null) {
            boolean counts = !isOutlier && (reading.marks[f] & ReadingHistory.UNUSABLE) == 0;
            int flag = attenuatedSignal(history, before, reading, f, field.attenuatedSignal(), counts);
            said.add(field.name(), "attenuated_signal", flag);
        }
        return isOutlier ? ReadingHistory.OUTLIER : 0;
    }

    private int gap(ReadingHistory history, int before, Reading reading) {
        if (before == 0) {
            return NOT_EVALUATED;
        }
        return above(reading.atMillis - history.atMillis(before - 1), rules.gap());
    }

    private static int spike(
            ReadingHistory history, int before, Reading reading, int f, QualityRules.Windowed test) {
        long[] values = new long[before];
        int count = 0;
        long from = reading.atMillis - test.windowMillis();
        for (int i = before - 1; i >= 0 && history.atMillis(i) >= from; i--) {
            if (!history.is(i, f, ReadingHistory.UNUSABLE)) {
                values[count++] = history.value(i, f);
            }
        }
        if (count < MIN_VALUES) {
            return NOT_EVALUATED;
        }
        Arrays.sort(values, 0, count);
        // Twice the median, which is whole, against twice the limits.
        long twice = values[(count - 1) / 2] + values[count / 2];
        QualityRules.Limit limit = test.of(reading.entity);
        long distance = Math.abs(2 * reading.values[f] - twice);
        if (limit.fail() != null && distance > 2 * limit.fail()) {
            return FAIL;
        }
        return limit.suspect() != null && distance > 2 * limit.suspect() ? SUSPECT : PASS;
    }

    private static int rateOfChange(
            ReadingHistory history, int before, Reading reading, int f, QualityRules.Windowed test) {
        long from = reading.atMillis - test.windowMillis();
        for (int i = before - 1; i >= 0 && history.atMillis(i) >= from; i--) {
            if (!history.is(i, f, ReadingHistory.UNUSABLE | ReadingHistory.OUTLIER)) {
                double change = Math.abs(reading.values[f] - history.value(i, f)) * HOUR_MILLIS;
                double passed = reading.atMillis - history.atMillis(i);
                QualityRules.Limit limit = test.of(reading.entity);
                if (limit.fail() != null && change > limit.fail() * passed) {
                    return FAIL;
                }
                return limit.suspect() != null && change > limit.suspect() * passed ? SUSPECT : PASS;
            }
        }
        return NOT_EVALUATED;
    }

    private int flatLine(ReadingHistory history, int before, Reading reading, int f, QualityRules.FlatLine test) {
        long low = reading.values[f];
        long high = low;
        if (test.except().contains(low)) {
            return PASS;
        }
        long since = reading.atMillis;
        boolean hasMoved = false;
        for (int i = before - 1; i >= 0; i--) {
            if (since - history.atMillis(i) > holeMillis || history.is(i, f, ReadingHistory.ABSENT)) {
                break;
            }
            low = Math.min(low, history.value(i, f));
            high = Math.max(high, history.value(i, f));
            if (high - low > test.tolerance()) {
                hasMoved = true;
                break;
            }
            since = history.atMillis(i);
        }
        long lasted = reading.atMillis - since;
        if (test.failMillis() != null && lasted >= test.failMillis()) {
            return FAIL;
        }
        if (test.suspectMillis() != null && lasted >= test.suspectMillis()) {
            return SUSPECT;
        }
        return hasMoved ? PASS : NOT_EVALUATED;
    }

    private int attenuatedSignal(
            ReadingHistory history, int before, Reading reading, int f, QualityRules.Windowed test, boolean counts) {
        long from = reading.atMillis - test.windowMillis();
        long low = counts ? reading.values[f] : Long.MAX_VALUE;
        long high = counts ? reading.values[f] : Long.MIN_VALUE;
        int count = counts ? 1 : 0;
        long oldest = reading.atMillis;
        for (int i = before - 1; i >= 0 && history.atMillis(i) >= from; i--) {
            oldest = history.atMillis(i);
            if (!history.is(i, f, ReadingHistory.UNUSABLE | ReadingHistory.OUTLIER)) {
                low = Math.min(low, history.value(i, f));
                high = Math.max(high, history.value(i, f));
                count++;
            }
        }
        double due = (double) test.windowMillis() / rules.cadenceMillis();
        if (oldest - from > holeMillis || count < MIN_COVERAGE * due) {
            return NOT_EVALUATED;
        }
        QualityRules.Limit limit = test.of(reading.entity);
        if (limit.fail() != null && high - low < limit.fail()) {
            return FAIL;
        }
        return limit.suspect() != null && high - low < limit.suspect() ? SUSPECT : PASS;
    }

    private static int above(long value, QualityRules.Limit limit) {
        if (limit.fail() != null && value > limit.fail()) {
            return FAIL;
        }
        return limit.suspect() != null && value > limit.suspect() ? SUSPECT : PASS;
    }

    /** What the tests say of one reading, together. */
    private static final class Said {

        private int flag;
        private StringBuilder detail;

        Said(Reading reading) {
            flag = reading.flag;
            detail = reading.detail == null ? null : new StringBuilder(reading.detail);
        }

        /** Adds one result; returns whether the value is out of line. */
        boolean add(String field, String test, int result) {
            flag = worst(flag, result);
            if (result != PASS) {
                name(field, test, result);
            }
            return result == SUSPECT || result == FAIL;
        }

        /** Names the tests of a field without a value; the flag stays, since the stateless tests know what is required. */
        void missing(QualityRules.Field field) {
            if (field.spike() != null) {
                name(field.name(), "spike", MISSING);
            }
            if (field.rateOfChange() != null) {
                name(field.name(), "rate_of_change", MISSING);
            }
            if (field.flatLine() != null) {
                name(field.name(), "flat_line", MISSING);
            }
            if (field.attenuatedSignal() != null) {
                name(field.name(), "attenuated_signal", MISSING);
            }
        }

        private void name(String field, String test, int result) {
            detail = detail == null ? new StringBuilder() : detail.append(';');
            detail.append(field).append('.').append(test).append('=').append(result);
        }

        Result result() {
            return new Result(flag, detail == null ? null : detail.toString());
        }
    }
}
