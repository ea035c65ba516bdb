package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.types.logical.RowType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The short way through a record and the general one give the same row, whatever the record. */
class UsualRecordTest {

    private static final RowType SCHEMA = (RowType) DataTypes.ROW(
                    DataTypes.FIELD("detector_id", DataTypes.STRING()),
                    DataTypes.FIELD("lane_no", DataTypes.INT()),
                    DataTypes.FIELD("observed_at", DataTypes.TIMESTAMP_LTZ(3)),
                    DataTypes.FIELD("mean_speed_kmh", DataTypes.DECIMAL(9, 3)),
                    DataTypes.FIELD("total", DataTypes.DECIMAL(30, 3)),
                    DataTypes.FIELD("count_big", DataTypes.BIGINT()),
                    DataTypes.FIELD("small", DataTypes.SMALLINT()),
                    DataTypes.FIELD("tiny", DataTypes.TINYINT()),
                    DataTypes.FIELD("fps", DataTypes.DOUBLE()),
                    DataTypes.FIELD("ratio", DataTypes.FLOAT()),
                    DataTypes.FIELD("is_online", DataTypes.BOOLEAN()),
                    DataTypes.FIELD("valid_from", DataTypes.DATE()),
                    DataTypes.FIELD("local_at", DataTypes.TIMESTAMP(6)),
                    DataTypes.FIELD("Phú \"Ốc\"", DataTypes.STRING()),
                    DataTypes.FIELD("_raw", DataTypes.BYTES()),
                    DataTypes.FIELD("_err", DataTypes.STRING()))
            .getLogicalType();
    private static final List<String> NAMES = List.of(
            "detector_id", "lane_no", "observed_at", "mean_speed_kmh", "total", "count_big", "small", "tiny", "fps",
            "ratio", "is_online", "valid_from", "local_at", "Phú \\\"Ốc\\\"", "_raw", "_err", "unknown", "lane", "");
    private static final List<String> VALUES = List.of(
            "null", "true", "false", "0", "-0", "1", "-1", "2", "127", "128", "-128", "-129", "32767", "32768", "65536",
            "2147483647", "2147483648", "-2147483648", "9223372036854775807", "-9223372036854775808",
            "9223372036854775808", "123456789012345678", "1234567890123456789", "9007199254740992", "9007199254740993",
            "0.1", "-0.0", "0.0", "0.10", "43.1", "999999.999", "1000000", "1.0005", "0.123456789012345678",
            "0.0000000000000000000000001", "1e3", "1E-3", "1e999999999", "01", "-", "1.", ".5", "+1", "1.5.5", "NaN",
            "\"\"", "\"HUE-D01\"", "\"Phú Ốc\"", "\"水位\"", "\"a\\nb\"", "\"a\\u0062\"", "\"tab\there\"", "\"1.5\"",
            "\"true\"", "\"2025-10-27T13:00:00Z\"", "\"2025-10-27T13:00:00.123456Z\"", "\"2025-10-27T13:00\"",
            "\"2025-10-27T13:00:00.5\"", "\"2025-10-27T13:00:00+07:00\"", "\"2025-02-30T00:00:00Z\"", "\"2025-10-27\"",
            "\"2025-13-27\"", "\"20251027\"", "\"đ025-10-27\"", "{}", "[]", "[1,2]", "{\"a\":null}", "nul", "tru", "\"open");

    private static final String DAMAGE = "{}[]\",:.0123456789 -eEtn\\\u0000\t";

    private final LakeJsonDecoder decoder = new LakeJsonDecoder(SCHEMA);

    private void assertSameBothWays(byte[] message) {
        if (Utf8.isJsonText(message)) {
            assertEquals(decoder.decodeAnything(message), decoder.decode(message), () -> text(message));
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] message) {
        return new String(message, StandardCharsets.UTF_8);
    }

    @Test
    void everyValueInEveryColumn() {
        for (String name : NAMES) {
            for (String value : VALUES) {
                assertSameBothWays(utf8("{\"" + name + "\":" + value + "}"));
            }
        }
    }

    @Test
    void randomRecordsInRandomOrderWithDamage() {
        Random random = new Random(334);
        for (int i = 0; i < 50_000; i++) {
            byte[] message = utf8(record(random));
            assertSameBothWays(message);
            for (int damage = random.nextInt(3); damage > 0 && message.length > 0; damage--) {
                message[random.nextInt(message.length)] = (byte) DAMAGE.charAt(random.nextInt(DAMAGE.length()));
            }
            assertSameBothWays(message);
            assertSameBothWays(Arrays.copyOf(message, random.nextInt(message.length + 1)));
        }
    }

    /** An object of some fields, most of them usual; now and then with white space or something behind it. */
    private static String record(Random random) {
        List<String> names = new ArrayList<>(NAMES);
        if (random.nextBoolean()) {
            Collections.shuffle(names, random);
        }
        String space = random.nextInt(8) == 0 ? " " : "";
        StringBuilder text = new StringBuilder("{");
        for (String name : names.subList(0, random.nextInt(names.size()))) {
            text.append(text.length() > 1 ? "," : "").append(space).append('"').append(name).append("\":").append(space);
            text.append(random.nextInt(6) == 0 ? VALUES.get(random.nextInt(VALUES.size())) : usual(name, random));
        }
        return text.append('}').append(random.nextInt(50) == 0 ? "{}" : space).toString();
    }

    private static String usual(String name, Random random) {
        return switch (name) {
            case "lane_no", "small", "tiny", "count_big" -> String.valueOf(random.nextInt(100));
            case "mean_speed_kmh", "total", "fps", "ratio", "unknown" -> random.nextInt(200) + "." + random.nextInt(1000);
            case "observed_at" -> "\"2025-10-27T13:00:%02d.%03dZ\"".formatted(random.nextInt(60), random.nextInt(1000));
            case "local_at" -> "\"2025-10-27T13:00:%02d\"".formatted(random.nextInt(60));
            case "valid_from" -> "\"2025-07-%02d\"".formatted(random.nextInt(1, 31));
            case "is_online" -> String.valueOf(random.nextBoolean());
            default -> "\"HUE-D" + random.nextInt(100) + "\"";
        };
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"detector_id\":\"HUE-D01\",\"lane_no\":2,\"observed_at\":\"2025-11-10T00:00:00.123Z\",\"mean_speed_kmh\":43.1,"
                + "\"fps\":24.97,\"is_online\":true,\"ratio\":null}",
        "{\"lane_no\":2,\"extra\":\"x\",\"more\":-1.5,\"none\":null,\"detector_id\":\"Phú Ốc\"}",
    })
    void usualRecordsTakeTheShortWay(String record) {
        assertTrue(new UsualRecord(SCHEMA).read(utf8(record), new GenericRowData(SCHEMA.getFieldCount())));
        assertSameBothWays(utf8(record));
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "[]", "{\"lane_no\":2} ", "{\"lane_no\": 2}", "{\"lane_no\":2e0}", "{\"lane_no\":\"2\"}"})
    void unusualRecordsDoNot(String record) {
        assertFalse(new UsualRecord(SCHEMA).read(utf8(record), new GenericRowData(SCHEMA.getFieldCount())));
        assertSameBothWays(utf8(record));
    }
}
