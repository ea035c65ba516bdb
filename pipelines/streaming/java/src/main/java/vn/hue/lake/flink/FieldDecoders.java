package vn.hue.lake.flink;

import static vn.hue.lake.flink.FieldDecoder.Fault.OVERFLOW;
import static vn.hue.lake.flink.FieldDecoder.Fault.TYPE;

import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.function.Function;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * What a JSON value may be for each column type.
 *
 * <p>As lenient as Flink's json format where nothing is lost (a number in a string, a number for a string column) and
 * strict where it would alter the value: a fraction for an integer, a word for a boolean, NaN, an object for a string.
 */
final class FieldDecoders {

    static final String SUPPORTED =
            "STRING, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL, DATE, TIMESTAMP, TIMESTAMP_LTZ"
                    + " and BYTES";

    private FieldDecoders() {}

    /** Whether a column of this type can be decoded. */
    static boolean supports(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case CHAR, VARCHAR, BOOLEAN, TINYINT, SMALLINT, INTEGER, BIGINT, FLOAT, DOUBLE, DECIMAL, DATE,
                    TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE, VARBINARY -> true;
            default -> false;
        };
    }

    /** Returns the decoder of a supported type. */
    static FieldDecoder of(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case CHAR, VARCHAR -> FieldDecoders::text;
            case BOOLEAN -> FieldDecoders::bool;
            case TINYINT -> parser -> narrow(integer(parser, Byte.MIN_VALUE, Byte.MAX_VALUE), Long::byteValue);
            case SMALLINT -> parser -> narrow(integer(parser, Short.MIN_VALUE, Short.MAX_VALUE), Long::shortValue);
            case INTEGER -> parser -> narrow(integer(parser, Integer.MIN_VALUE, Integer.MAX_VALUE), Long::intValue);
            case BIGINT -> parser -> integer(parser, Long.MIN_VALUE, Long.MAX_VALUE);
            case FLOAT -> parser -> toFloat(floating(parser));
            case DOUBLE -> FieldDecoders::floating;
            case DECIMAL -> decimal((DecimalType) type);
            case DATE -> FieldDecoders::date;
            case TIMESTAMP_WITHOUT_TIME_ZONE -> timestamp(LogicalTypeChecks.getPrecision(type), false);
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE -> timestamp(LogicalTypeChecks.getPrecision(type), true);
            case VARBINARY -> FieldDecoders::base64;
            default -> throw new IllegalArgumentException("No decoder for " + type + "; supported: " + SUPPORTED);
        };
    }

    private static Object text(JsonParser parser) throws IOException {
        JsonToken token = parser.currentToken();
        return token.isScalarValue() ? StringData.fromString(parser.getText()) : TYPE;
    }

    private static Object bool(JsonParser parser) throws IOException {
        switch (parser.currentToken()) {
            case VALUE_TRUE:
                return Boolean.TRUE;
            case VALUE_FALSE:
                return Boolean.FALSE;
            case VALUE_STRING:
                String word = parser.getText().trim();
                if (word.equalsIgnoreCase("true")) {
                    return Boolean.TRUE;
                }
                return word.equalsIgnoreCase("false") ? Boolean.FALSE : TYPE;
            default:
                return TYPE;
        }
    }

    private static Object integer(JsonParser parser, long minimum, long maximum) throws IOException {
        long value;
        switch (parser.currentToken()) {
            case VALUE_NUMBER_INT:
                if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
                    return OVERFLOW;
                }
                value = parser.getLongValue();
                break;
            case VALUE_NUMBER_FLOAT:
            case VALUE_STRING:
                BigDecimal number = Numbers.parse(parser.getText());
                if (number == null || !Numbers.isIntegral(number)) {
                    return TYPE;
                }
                if (!Numbers.fitsLong(number)) {
                    return OVERFLOW;
                }
                value = number.longValueExact();
                break;
            default:
                return TYPE;
        }
        return value < minimum || value > maximum ? OVERFLOW : (Object) value;
    }

    private static Object narrow(Object value, Function<Long, Object> cast) {
        return value instanceof Long number ? cast.apply(number) : value;
    }

    private static Object floating(JsonParser parser) throws IOException {
        double value;
        switch (parser.currentToken()) {
            case VALUE_NUMBER_INT:
            case VALUE_NUMBER_FLOAT:
                value = parser.getDoubleValue();
                break;
            case VALUE_STRING:
                // Through BigDecimal, since parseDouble also takes "NaN", "Infinity", "0x1p3" and "1d".
                BigDecimal number = Numbers.parse(parser.getText());
                if (number == null) {
                    return TYPE;
                }
                value = Numbers.toDouble(number);
                break;
            default:
                return TYPE;
        }
        return Double.isInfinite(value) ? OVERFLOW : (Object) value;
    }

    private static Object toFloat(Object value) {
        if (!(value instanceof Double wide)) {
            return value;
        }
        float number = wide.floatValue();
        return Float.isInfinite(number) ? OVERFLOW : (Object) number;
    }

    private static FieldDecoder decimal(DecimalType type) {
        int precision = type.getPrecision();
        int scale = type.getScale();
        return parser -> switch (parser.currentToken()) {
            case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT, VALUE_STRING ->
                    Numbers.decimal(parser.getText(), precision, scale);
            default -> TYPE;
        };
    }

    private static Object date(JsonParser parser) throws IOException {
        if (parser.currentToken() != JsonToken.VALUE_STRING) {
            return TYPE;
        }
        byte[] text = parser.getText().getBytes(StandardCharsets.UTF_8);
        Object value = IsoTime.date(text, 0, text.length);
        return value == null ? TYPE : value;
    }

    private static FieldDecoder timestamp(int precision, boolean zoned) {
        return parser -> {
            if (parser.currentToken() != JsonToken.VALUE_STRING) {
                return TYPE;
            }
            byte[] text = parser.getText().getBytes(StandardCharsets.UTF_8);
            Object value = IsoTime.timestamp(text, 0, text.length, precision, zoned);
            return value == null ? TYPE : value;
        };
    }

    private static Object base64(JsonParser parser) throws IOException {
        if (parser.currentToken() != JsonToken.VALUE_STRING) {
            return TYPE;
        }
        try {
            return Base64.getDecoder().decode(parser.getText());
        } catch (IllegalArgumentException e) {
            return TYPE;
        }
    }
}
