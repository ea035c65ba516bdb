package vn.hue.lake.flink;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.json.JsonReadFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.RowType;

/**
 * Decodes one flat JSON object into one row, in one pass, and never throws. What senders usually send takes a short way,
 * {@link UsualRecord}, with the same result.
 *
 * <p>{@code _raw} holds the record's bytes (the first {@value #MAX_RAW_BYTES} of them) whether or not it could be decoded:
 * a job refuses decoded records too, a clock in 2030 for one, and a refused record keeps its bytes. A record that
 * cannot be used becomes a row in which every other column is NULL except {@code _err}, the reason. Reasons:
 *
 * <ul>
 *   <li>{@code empty}: no value, no bytes, or white space only;
 *   <li>{@code refused:<reason>}: the marker that the gateway puts in place of a payload it kept elsewhere;
 *   <li>{@code malformed}: not UTF-8, not JSON, or more than one JSON value;
 *   <li>{@code not_an_object}: an array or a scalar;
 *   <li>{@code type:<field>}: a value that the column's type cannot hold;
 *   <li>{@code overflow:<field>}: a number outside the column's range.
 * </ul>
 *
 * <p>Of several faults in one object the first in record order is named, but {@code malformed} goes before all. Flink's
 * own json format loses or alters such records: it emits nothing for an empty value, explodes arrays, turns an
 * overflowing decimal into NULL, {@code "yes"} into false and 3.7 into 3, ignores what follows the object, and a decimal
 * of {@code 1e999999999} never returns.
 *
 * <p>Fields that are no column are ignored, missing fields are NULL, of a field given twice the last value holds.
 */
final class LakeJsonDecoder {

    static final String RAW_COLUMN = "_raw";
    static final String ERROR_COLUMN = "_err";
    /** What is kept of a record's bytes; the gateway refuses larger records. */
    static final int MAX_RAW_BYTES = 512 * 1024;

    private static final byte[] REFUSAL_PREFIX = "{\"lake.refused\":".getBytes(StandardCharsets.US_ASCII);

    private record Column(int index, String name, FieldDecoder decoder) {}

    private final UsualRecord usual;
    private final JsonFactory json;
    private final ObjectMapper mapper;
    private final Map<String, Column> columns = new HashMap<>();
    private final int arity;
    private final int rawIndex;
    private final int errorIndex;

    /** Builds the decoders of the row's columns; {@code _raw} and {@code _err} are found by name and never decoded. */
    LakeJsonDecoder(RowType rowType) {
        usual = new UsualRecord(rowType);
        json = JsonFactory.builder()
                // As Flink's json format: a raw tab inside a string is no reason to lose a reading.
                .enable(JsonReadFeature.ALLOW_UNESCAPED_CONTROL_CHARS)
                // Field names come from outside; interned ones would stay in the JVM.
                .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                .build();
        mapper = new ObjectMapper(json);
        arity = rowType.getFieldCount();
        rawIndex = rowType.getFieldIndex(RAW_COLUMN);
        errorIndex = rowType.getFieldIndex(ERROR_COLUMN);
        for (int i = 0; i < arity; i++) {
            String name = rowType.getFieldNames().get(i);
            if (!isReserved(name)) {
                columns.put(name, new Column(i, name, FieldDecoders.of(rowType.getTypeAt(i))));
            }
        }
    }

    /** Decodes a record's value; {@code null} is a record without one. */
    GenericRowData decode(byte[] message) {
        if (message == null) {
            return refuse(null, "empty");
        }
        if (isRefusalMarker(message)) {
            return refuse(message, refusal(message));
        }
        if (!Utf8.isJsonText(message)) {
            return refuse(message, "malformed");
        }
        GenericRowData row = withRaw(message);
        return usual.read(message, row) ? row : decodeAnything(message);
    }

    /** Decodes well-formed UTF-8 of any kind. */
    GenericRowData decodeAnything(byte[] message) {
        try (JsonParser parser = json.createParser(message)) {
            JsonToken first = parser.nextToken();
            if (first == null) {
                return refuse(message, "empty");
            }
            GenericRowData row = withRaw(message);
            String fault = first == JsonToken.START_OBJECT ? readObject(parser, row) : skipValue(parser);
            if (parser.nextToken() != null) {
                return refuse(message, "malformed");
            }
            return fault == null ? row : refuse(message, fault);
        } catch (IOException e) {
            return refuse(message, "malformed");
        }
    }

    /** Reads up to the object's end and returns its first fault, or null. */
    private String readObject(JsonParser parser, GenericRowData row) throws IOException {
        String fault = null;
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            Column column = columns.get(parser.currentName());
            JsonToken token = parser.nextToken();
            if (column == null) {
                parser.skipChildren();
            } else if (token == JsonToken.VALUE_NULL) {
                row.setField(column.index, null);
            } else {
                Object value = column.decoder.decode(parser);
                if (value instanceof FieldDecoder.Fault kind) {
                    if (fault == null) {
                        fault = kind.prefix() + column.name;
                    }
                    parser.skipChildren();
                } else {
                    row.setField(column.index, value);
                }
            }
        }
        return fault;
    }

    private static String skipValue(JsonParser parser) throws IOException {
        parser.skipChildren();
        return "not_an_object";
    }

    /** Whether the format itself fills this column. */
    static boolean isReserved(String column) {
        return column.equals(RAW_COLUMN) || column.equals(ERROR_COLUMN);
    }

    private static boolean isRefusalMarker(byte[] message) {
        int length = REFUSAL_PREFIX.length;
        return message.length >= length && Arrays.equals(message, 0, length, REFUSAL_PREFIX, 0, length);
    }

    private String refusal(byte[] message) {
        try {
            String reason = mapper.readTree(message).path("lake.refused").path("reason").asText();
            return "refused:" + (reason.isEmpty() ? "unknown" : reason);
        } catch (IOException e) {
            return "malformed";
        }
    }

    /** A row of NULLs but for the bytes: the array itself, no copy, since a job may refuse what could be decoded. */
    private GenericRowData withRaw(byte[] message) {
        GenericRowData row = new GenericRowData(arity);
        if (rawIndex >= 0 && message != null) {
            row.setField(rawIndex, kept(message));
        }
        return row;
    }

    private static byte[] kept(byte[] message) {
        return message.length > MAX_RAW_BYTES ? Arrays.copyOf(message, MAX_RAW_BYTES) : message;
    }

    private GenericRowData refuse(byte[] message, String reason) {
        GenericRowData row = withRaw(message);
        if (errorIndex >= 0) {
            row.setField(errorIndex, StringData.fromString(reason));
        }
        return row;
    }
}
