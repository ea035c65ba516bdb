package vn.hue.lake.flink;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Reads the records that senders usually send in one pass over their bytes: an object without white space, whose values
 * are of their column's own JSON kind, without escapes and exponents, and fit.
 *
 * <p>Anything else is not read at all: {@link #read} says no, and the general decoder decides what the record is. What is
 * read here has the very value that the general decoder gives it; a test holds that for random and damaged records.
 */
final class UsualRecord {

    private static final int MAX_DIGITS = 18;
    private static final int MAX_EXACT_POWER = 22;
    private static final long MAX_EXACT_DOUBLE = 1L << 53;
    private static final byte[] TRUE = "true".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] FALSE = "false".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] NULL = "null".getBytes(StandardCharsets.US_ASCII);
    private static final double[] POWERS_OF_TEN = new double[MAX_EXACT_POWER + 1];

    static {
        POWERS_OF_TEN[0] = 1;
        for (int i = 1; i < POWERS_OF_TEN.length; i++) {
            POWERS_OF_TEN[i] = POWERS_OF_TEN[i - 1] * 10;
        }
    }

    /** Reads the value at {@link #position} and moves behind it; null if it is not the usual one. */
    @FunctionalInterface
    private interface ValueReader {
        Object read();
    }

    private record Column(int index, byte[] quotedName, ValueReader reader) {}

    private final Column[] columns;
    /** Which column stood behind each one in the last record, the first of all in the last place. */
    private final int[] successors;

    private byte[] message;
    private int position;
    // What number() has read.
    private long unscaled;
    private int decimals;
    // What string() has read: from here to before the closing quote.
    private int textBegin;
    private int textEnd;

    /** Prepares the columns of the row; {@code _raw} and {@code _err} are no fields of a record. */
    UsualRecord(RowType rowType) {
        List<String> names = rowType.getFieldNames();
        columns = names.stream()
                .filter(name -> !LakeJsonDecoder.isReserved(name))
                .map(name -> column(names.indexOf(name), name, rowType.getTypeAt(names.indexOf(name))))
                .toArray(Column[]::new);
        successors = new int[columns.length + 1];
        for (int i = 0; i < columns.length; i++) {
            successors[i] = (i + 1) % columns.length;
        }
    }

    private Column column(int index, String name, LogicalType type) {
        JsonOutput quoted = new JsonOutput();
        quoted.quoted(name.getBytes(StandardCharsets.UTF_8));
        quoted.ascii(':');
        return new Column(index, quoted.toBytes(), reader(type));
    }

    /** Fills the row from well-formed UTF-8, or returns false; the row is then of no use. */
    boolean read(byte[] record, GenericRowData row) {
        message = record;
        position = 0;
        if (columns.length == 0 || !skip('{')) {
            return false;
        }
        int last = columns.length;
        do {
            int found = nextColumn(last);
            if (found >= 0) {
                Column column = columns[found];
                last = found;
                if (at('n')) {
                    if (!skip(NULL)) {
                        return false;
                    }
                    row.setField(column.index, null);
                } else {
                    Object value = column.reader.read();
                    if (value == null) {
                        return false;
                    }
                    row.setField(column.index, value);
                }
            } else if (!skipUnknownField()) {
                return false;
            }
        } while (skip(','));
        return skip('}') && position == message.length;
    }

    /** Moves behind the name of a column and returns which it is, or -1. Senders keep an order: it is tried first. */
    private int nextColumn(int last) {
        int expected = successors[last];
        if (skip(columns[expected].quotedName)) {
            return expected;
        }
        for (int i = 0; i < columns.length; i++) {
            if (skip(columns[i].quotedName)) {
                successors[last] = i;
                return i;
            }
        }
        return -1;
    }

    private boolean skipUnknownField() {
        if (!string() || !skip(':')) {
            return false;
        }
        return at('"') ? string() : number() || skip(NULL) || skip(TRUE) || skip(FALSE);
    }

    private ValueReader reader(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case CHAR, VARCHAR -> () ->
                    string() ? StringData.fromBytes(message, textBegin, textEnd - textBegin) : null;
            case BOOLEAN -> () -> skip(TRUE) ? Boolean.TRUE : skip(FALSE) ? Boolean.FALSE : null;
            case TINYINT -> () -> integer(Byte.MAX_VALUE) ? (Object) (byte) unscaled : null;
            case SMALLINT -> () -> integer(Short.MAX_VALUE) ? (Object) (short) unscaled : null;
            case INTEGER -> () -> integer(Integer.MAX_VALUE) ? (Object) (int) unscaled : null;
            case BIGINT -> () -> integer(Long.MAX_VALUE) ? (Object) unscaled : null;
            case FLOAT -> () -> isExactDouble() ? (Object) (float) floating() : null;
            case DOUBLE -> () -> isExactDouble() ? (Object) floating() : null;
            case DECIMAL -> {
                int precision = ((DecimalType) type).getPrecision();
                int scale = ((DecimalType) type).getScale();
                yield () -> number() ? decimal(precision, scale) : null;
            }
            case DATE -> () -> string() ? IsoTime.date(message, textBegin, textEnd - textBegin) : null;
            case TIMESTAMP_WITHOUT_TIME_ZONE -> timestamp(type, false);
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE -> timestamp(type, true);
            default -> () -> null;
        };
    }

    private ValueReader timestamp(LogicalType type, boolean zoned) {
        int precision = LogicalTypeChecks.getPrecision(type);
        return () -> string()
                ? IsoTime.timestamp(message, textBegin, textEnd - textBegin, precision, zoned)
                : null;
    }

    private boolean integer(long maximum) {
        // One below the smallest value of the type is as rare as what does not fit.
        return number() && decimals == 0 && Math.abs(unscaled) <= maximum;
    }

    private boolean isExactDouble() {
        return number() && Math.abs(unscaled) <= MAX_EXACT_DOUBLE && (unscaled != 0 || decimals == 0);
    }

    /** Both numbers are exact, so that the quotient is the nearest double. */
    private double floating() {
        return unscaled / POWERS_OF_TEN[decimals];
    }

    private DecimalData decimal(int precision, int scale) {
        return Numbers.ofDigits(unscaled, decimals, precision, scale) instanceof DecimalData value ? value : null;
    }

    /** Reads a number of JSON without an exponent and with at most 18 digits, or stays where it is. */
    private boolean number() {
        int begin = position;
        boolean negative = skip('-');
        int first = position;
        long value = digits(0);
        int whole = position - first;
        if (whole == 0 || (whole > 1 && message[first] == '0')) {
            position = begin;
            return false;
        }
        int fraction = 0;
        if (skip('.')) {
            int point = position;
            value = digits(value);
            fraction = position - point;
            if (fraction == 0) {
                position = begin;
                return false;
            }
        }
        if (whole + fraction > MAX_DIGITS || at('e') || at('E')) {
            position = begin;
            return false;
        }
        unscaled = negative ? -value : value;
        decimals = fraction;
        return true;
    }

    /** Reads on digits; of more than 18 the value is wrong, which the caller knows by their number. */
    private long digits(long before) {
        long value = before;
        while (position < message.length && message[position] >= '0' && message[position] <= '9') {
            value = value * 10 + (message[position++] - '0');
        }
        return value;
    }

    /** Reads a string without escapes, or stays where it is. */
    private boolean string() {
        if (!at('"')) {
            return false;
        }
        for (int i = position + 1; i < message.length; i++) {
            if (message[i] == '"') {
                textBegin = position + 1;
                textEnd = i;
                position = i + 1;
                return true;
            }
            if (message[i] == '\\') {
                return false;
            }
        }
        return false;
    }

    private boolean at(char character) {
        return position < message.length && message[position] == character;
    }

    private boolean skip(char character) {
        if (!at(character)) {
            return false;
        }
        position++;
        return true;
    }

    private boolean skip(byte[] text) {
        int end = position + text.length;
        if (end > message.length || !Arrays.equals(message, position, end, text, 0, text.length)) {
            return false;
        }
        position = end;
        return true;
    }
}
