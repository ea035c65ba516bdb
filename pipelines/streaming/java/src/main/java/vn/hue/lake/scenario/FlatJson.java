package vn.hue.lake.scenario;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.table.data.TimestampData;
import vn.hue.lake.flink.IsoTime;

/** Reads what is wanted of the flat JSON objects that the stream jobs write, and nothing else. */
public final class FlatJson {

    private static final byte[] RECEIVED_AT = "\"received_at\":\"".getBytes(StandardCharsets.US_ASCII);
    private static final int MAX_TIME_LENGTH = 40;
    private static final JsonFactory JSON =
            JsonFactory.builder().disable(JsonFactory.Feature.INTERN_FIELD_NAMES).build();

    private FlatJson() {}

    /**
     * Returns the wanted fields that are known, every value as its text.
     *
     * @throws IOException the bytes are no JSON object
     */
    static Map<String, String> read(byte[] record, Set<String> wanted) throws IOException {
        Map<String, String> values = new HashMap<>();
        try (JsonParser parser = JSON.createParser(record)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new IOException("not a JSON object");
            }
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                JsonToken token = parser.nextToken();
                if (token.isStructStart()) {
                    parser.skipChildren();
                } else if (token != JsonToken.VALUE_NULL && wanted.contains(name)) {
                    values.put(name, parser.getText());
                }
            }
        }
        return values;
    }

    /**
     * Returns the arrival clock of a record without decoding it, in milliseconds since 1970; null if it has none.
     *
     * <p>A quote inside a JSON text is escaped, so that the searched bytes can only be the field itself. It stands near
     * the end: that is where the search begins.
     */
    public static Long receivedMillis(byte[] record) {
        for (int start = record.length - RECEIVED_AT.length; start > 0; start--) {
            if (record[start] == '"' && isAt(record, start) && (record[start - 1] == ',' || record[start - 1] == '{')) {
                return millis(record, start + RECEIVED_AT.length);
            }
        }
        return null;
    }

    private static boolean isAt(byte[] record, int start) {
        for (int i = 1; i < RECEIVED_AT.length; i++) {
            if (record[start + i] != RECEIVED_AT[i]) {
                return false;
            }
        }
        return true;
    }

    private static Long millis(byte[] record, int start) {
        int end = start;
        while (end < record.length && record[end] != '"' && end - start < MAX_TIME_LENGTH) {
            end++;
        }
        return millis(new String(record, start, end - start, StandardCharsets.US_ASCII));
    }

    /** Returns an instant written as {@code 2025-10-27T13:00:00.5Z} in milliseconds since 1970; null if it is none. */
    static Long millis(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        TimestampData time = IsoTime.timestamp(bytes, 0, bytes.length, 3, true);
        return time == null ? null : time.getMillisecond();
    }
}
