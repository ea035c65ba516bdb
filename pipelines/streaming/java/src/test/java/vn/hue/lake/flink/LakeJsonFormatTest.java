package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.factories.SerializationFormatFactory;
import org.apache.flink.table.runtime.connector.source.ScanRuntimeProviderContext;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.Collector;
import org.apache.flink.util.InstantiationUtil;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.flink.util.UserCodeClassLoader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The format as a connector gets it: through its factory. */
class LakeJsonFormatTest {

    private static final DataType SCHEMA = DataTypes.ROW(
            DataTypes.FIELD("station_id", DataTypes.STRING()),
            DataTypes.FIELD("_raw", DataTypes.BYTES()),
            DataTypes.FIELD("observed_at", DataTypes.TIMESTAMP_LTZ(6)),
            DataTypes.FIELD("stage_m", DataTypes.DECIMAL(9, 3)),
            DataTypes.FIELD("lane_no", DataTypes.INT()),
            DataTypes.FIELD("count_big", DataTypes.BIGINT()),
            DataTypes.FIELD("fps", DataTypes.DOUBLE()),
            DataTypes.FIELD("is_online", DataTypes.BOOLEAN()),
            DataTypes.FIELD("valid_from", DataTypes.DATE()),
            DataTypes.FIELD("small", DataTypes.SMALLINT()),
            DataTypes.FIELD("_err", DataTypes.STRING()));
    private static final int RAW = 1;
    private static final int ERR = 10;

    /** Opens a decoder of the whole schema, after a trip through Java's serialisation as to a task manager. */
    static DeserializationSchema<RowData> open(String format, DataType schema, Map<String, String> options) {
        try {
            DeserializationFormatFactory factory = FactoryUtil.discoverFactory(
                    LakeJsonFormatTest.class.getClassLoader(), DeserializationFormatFactory.class, format);
            DeserializationSchema<RowData> decoder = factory
                    .createDecodingFormat(null, Configuration.fromMap(options))
                    .createRuntimeDecoder(ScanRuntimeProviderContext.INSTANCE, schema);
            return opened(decoder);
        } catch (Exception e) {
            throw e instanceof RuntimeException unchecked ? unchecked : new IllegalStateException(e);
        }
    }

    private static DeserializationSchema<RowData> opened(DeserializationSchema<RowData> decoder) throws Exception {
        DeserializationSchema<RowData> copy = InstantiationUtil.clone(decoder);
        copy.open(new DeserializationSchema.InitializationContext() {
            @Override
            public MetricGroup getMetricGroup() {
                return new UnregisteredMetricsGroup();
            }

            @Override
            public UserCodeClassLoader getUserCodeClassLoader() {
                return SimpleUserCodeClassLoader.create(LakeJsonFormatTest.class.getClassLoader());
            }
        });
        return copy;
    }

    private static List<RowData> decodeAll(DeserializationSchema<RowData> decoder, byte[] message) {
        List<RowData> rows = new ArrayList<>();
        try {
            decoder.deserialize(message, new Collector<>() {
                @Override
                public void collect(RowData row) {
                    rows.add(row);
                }

                @Override
                public void close() {}
            });
        } catch (IOException e) {
            throw new AssertionError("A record stopped the job", e);
        }
        return rows;
    }

    private static RowData decode(byte[] message) {
        List<RowData> rows = decodeAll(open("lake-json", SCHEMA, Map.of()), message);
        assertEquals(1, rows.size(), "one row for every record");
        assertEquals(RowKind.INSERT, rows.get(0).getRowKind());
        return rows.get(0);
    }

    private static void assertRefused(String reason, byte[] message) {
        RowData row = decode(message);
        assertEquals(reason, row.isNullAt(ERR) ? null : row.getString(ERR).toString());
        assertArrayEquals(message, row.isNullAt(RAW) ? null : row.getBinary(RAW));
        for (int i = 0; i < row.getArity(); i++) {
            assertTrue(i == RAW || i == ERR || row.isNullAt(i), "column " + i + " is NULL");
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void decodesEveryLogicalTypeOfTheContracts() {
        RowData row = decode(utf8("{\"station_id\":\"Phú Ốc\",\"observed_at\":\"2025-10-27T13:00:00.123456Z\","
                + "\"stage_m\":-5.05,\"lane_no\":2,\"count_big\":9223372036854775807,\"fps\":24,\"is_online\":true,"
                + "\"valid_from\":\"2025-07-01\",\"small\":-32768,\"unknown\":{\"a\":[1,{}]}}"));
        assertTrue(row.isNullAt(ERR));
        assertFalse(row.isNullAt(RAW));
        assertEquals("Phú Ốc", row.getString(0).toString());
        assertEquals("2025-10-27T13:00:00.123456", row.getTimestamp(2, 6).toString());
        assertEquals("-5.050", row.getDecimal(3, 9, 3).toString());
        assertEquals(2, row.getInt(4));
        assertEquals(Long.MAX_VALUE, row.getLong(5));
        assertEquals(24.0, row.getDouble(6));
        assertTrue(row.getBoolean(7));
        assertEquals(20270, row.getInt(8));
        assertEquals(Short.MIN_VALUE, row.getShort(9));
    }

    @Test
    void missingAndNullFieldsAreNull() {
        byte[] message = utf8(" {\"stage_m\":null} \n");
        RowData row = decode(message);
        for (int i = 0; i < row.getArity(); i++) {
            assertEquals(i != RAW, row.isNullAt(i));
        }
        assertArrayEquals(message, row.getBinary(RAW));
    }

    @Test
    void fieldsNamedAsTheReservedColumnsAreIgnored() {
        byte[] message = utf8("{\"_err\":\"empty\",\"_raw\":\"AAAA\",\"lane_no\":1}");
        RowData row = decode(message);
        assertTrue(row.isNullAt(ERR));
        assertArrayEquals(message, row.getBinary(RAW));
        assertEquals(1, row.getInt(4));
    }

    @Test
    void emptyRecords() {
        assertRefused("empty", null);
        assertRefused("empty", new byte[0]);
        assertRefused("empty", utf8(" \t\r\n"));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "not json",
                "{",
                "{\"lane_no\":1",
                "{\"lane_no\":1,}",
                "{\"lane_no\":1}x",
                "{\"lane_no\":1}}",
                "{\"lane_no\":1}{\"lane_no\":2}",
                "{\"lane_no\":1} null",
                "{\"lane_no\":\"x\", broken",
                "{lane_no:1}",
                "[1,2",
                "[] []",
                "{\"lane_no\":NaN}",
                "{\"lane_no\":1}\u0000",
                "{\"lake.refused\":",
            })
    void malformedText(String text) {
        assertRefused("malformed", utf8(text));
    }

    @Test
    void malformedEncoding() {
        assertRefused("malformed", new byte[] {'{', '"', 'a', '"', ':', '"', (byte) 0xFF, '"', '}'});
        // An overlong slash and a surrogate: Jackson alone accepts both.
        assertRefused("malformed", new byte[] {'{', '"', 'a', '"', ':', '"', (byte) 0xC0, (byte) 0xAF, '"', '}'});
        assertRefused(
                "malformed",
                new byte[] {'{', '"', 'a', '"', ':', '"', (byte) 0xED, (byte) 0xA0, (byte) 0x80, '"', '}'});
        assertRefused("malformed", "{\"lane_no\":1}".getBytes(StandardCharsets.UTF_16LE));
        assertRefused("malformed", "{\"lane_no\":1}".getBytes(StandardCharsets.UTF_16));
    }

    @Test
    void nestingWithoutEndIsMalformed() {
        assertRefused("malformed", utf8("{\"a\":" + "[".repeat(100_000) + "]".repeat(100_000) + "}"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"[]", "[{\"lane_no\":1},{\"lane_no\":2}]", "1", "\"text\"", "null", "true", " [1] "})
    void otherThanObjects(String text) {
        assertRefused("not_an_object", utf8(text));
    }

    @Test
    void refusalMarkers() {
        assertRefused(
                "refused:too_large",
                utf8("{\"lake.refused\":{\"reason\":\"too_large\",\"ref\":\"a/b\",\"size_bytes\":5242880}}"));
        assertRefused("refused:unknown", utf8("{\"lake.refused\":{}}"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "station_id  | {}",
                "station_id  | [\"71520\"]",
                "observed_at | \"2025-10-27T13:00:00\"",
                "observed_at | \"2025-10-27T13:00:00+07:00\"",
                "observed_at | \"2025-10-27 13:00:00Z\"",
                "observed_at | \"2025-02-29T13:00:00Z\"",
                "observed_at | \"2025-10-27T24:00:00Z\"",
                "observed_at | \"2025-10-27T13:00:00.Z\"",
                "observed_at | \"\"",
                "observed_at | \"Z\"",
                "observed_at | 1761570000",
                "stage_m     | true",
                "stage_m     | \"high\"",
                "stage_m     | \"\"",
                "stage_m     | \"NaN\"",
                "stage_m     | {\"value\":1}",
                "lane_no     | 1.5",
                "lane_no     | 1e-999999999",
                "lane_no     | \"1.5\"",
                "lane_no     | false",
                "lane_no     | []",
                "fps         | \"NaN\"",
                "fps         | \"0x1p3\"",
                "fps         | true",
                "is_online   | \"yes\"",
                "is_online   | 1",
                "valid_from  | \"2025-7-1\"",
                "valid_from  | \"2025-13-01\"",
                "valid_from  | 20250701",
            })
    void wrongTypesNameTheField(String field, String value) {
        assertRefused("type:" + field, utf8("{\"unknown\":1,\"" + field + "\":" + value + ",\"fps\":1.0}"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "stage_m   | 1000000",
                "stage_m   | 999999.9995",
                "stage_m   | -1000000.001",
                "stage_m   | 1e6",
                "stage_m   | 1e999999999",
                "stage_m   | \"1e999999999\"",
                "stage_m   | 123456789012345678901234567890",
                "lane_no   | 2147483648",
                "lane_no   | \"2147483648\"",
                "lane_no   | 99999999999999999999",
                "lane_no   | 1e999999999",
                "count_big | 9223372036854775808",
                "count_big | \"-9223372036854775809\"",
                "small     | 32768",
                "fps       | 1e999",
                "fps       | \"1e999999999\"",
            })
    void numbersOutsideTheRangeNameTheField(String field, String value) {
        assertTimeoutPreemptively(
                Duration.ofSeconds(5),
                () -> assertRefused("overflow:" + field, utf8("{\"" + field + "\":" + value + ",\"fps\":1.0}")));
    }

    @Test
    void theFirstFaultIsNamed() {
        assertRefused("type:lane_no", utf8("{\"lane_no\":true,\"stage_m\":1e9}"));
        assertRefused("overflow:stage_m", utf8("{\"stage_m\":1e9,\"lane_no\":true}"));
    }

    @Test
    void keepsTheBeginningOfWhatIsTooLong() {
        byte[] message = utf8("x".repeat(LakeJsonDecoder.MAX_RAW_BYTES + 1));
        assertArrayEquals(
                Arrays.copyOf(message, LakeJsonDecoder.MAX_RAW_BYTES), decode(message).getBinary(RAW));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"stage_m\":1.75,\"lane_no\":3,\"fps\":-0.0}",
                "{\"stage_m\":\" 1.75 \",\"lane_no\":\" 3 \",\"fps\":\"2.5\"}",
                "{\"stage_m\":1.23456,\"fps\":1e-320}",
                "{\"stage_m\":-0.0005,\"fps\":1.7976931348623157e308}",
                "{\"stage_m\":999999.999,\"count_big\":-9223372036854775808}",
                "{\"stage_m\":1e2,\"fps\":12345678901234567890}",
                "{\"stage_m\":0.000,\"fps\":0.1}",
                "{\"station_id\":71520,\"is_online\":\"TRUE\"}",
                "{\"station_id\":\"a\\u1ed0\\n\\\"\",\"is_online\":false}",
                "{\"station_id\":\"tab\there\"}",
                "{\"observed_at\":\"2025-10-27T13:00Z\"}",
                "{\"observed_at\":\"1969-12-31T23:59:59.999999Z\"}",
                "{\"observed_at\":\"0001-01-01T00:00:00.5Z\",\"valid_from\":\"2024-02-29\"}",
                "{\"lane_no\":1,\"lane_no\":2}",
            })
    void goodRecordsAreDecodedAsByFlinksFormat(String text) {
        Map<String, String> options = Map.of("timestamp-format.standard", "ISO-8601");
        GenericRowData row = (GenericRowData) decode(utf8(text));
        row.setField(RAW, null); // Flink's own format knows no such column
        assertEquals(decodeAll(open("json", SCHEMA, options), utf8(text)), List.of(row));
    }

    @Test
    void integralFractionsAreIntegers() {
        assertEquals(300, decode(utf8("{\"lane_no\":3.0e2}")).getInt(4));
    }

    @Test
    void timesAreCutToTheColumnsPrecision() {
        DataType schema = DataTypes.ROW(DataTypes.FIELD("t", DataTypes.TIMESTAMP_LTZ(3)));
        RowData row = decodeAll(open("lake-json", schema, Map.of()), utf8("{\"t\":\"2025-10-27T13:00:00.123999Z\"}"))
                .get(0);
        assertEquals("2025-10-27T13:00:00.123", row.getTimestamp(0, 3).toString());
    }

    @Test
    void projectionsKeepTheirOrder() throws Exception {
        DeserializationFormatFactory factory = FactoryUtil.discoverFactory(
                getClass().getClassLoader(), DeserializationFormatFactory.class, "lake-json");
        ProjectableDecodingFormat<DeserializationSchema<RowData>> format =
                (ProjectableDecodingFormat<DeserializationSchema<RowData>>)
                        factory.createDecodingFormat(null, new Configuration());
        DeserializationSchema<RowData> decoder = opened(format.createRuntimeDecoder(
                ScanRuntimeProviderContext.INSTANCE, SCHEMA, new int[][] {{ERR}, {4}, {0}}));
        RowData good = decodeAll(decoder, utf8("{\"station_id\":\"a\",\"lane_no\":7}")).get(0);
        assertEquals(3, good.getArity());
        assertTrue(good.isNullAt(0));
        assertEquals(7, good.getInt(1));
        assertEquals("a", good.getString(2).toString());
        assertEquals("empty", decodeAll(decoder, null).get(0).getString(0).toString());
    }

    @Test
    void withoutTheReservedColumnsABadRecordIsARowOfNulls() {
        DataType schema = DataTypes.ROW(DataTypes.FIELD("lane_no", DataTypes.INT()));
        List<RowData> rows = decodeAll(open("lake-json", schema, Map.of()), utf8("{"));
        assertEquals(1, rows.size());
        assertTrue(rows.get(0).isNullAt(0));
    }

    @Test
    void unsuitableColumnsAreRefusedWhenTheJobIsPlanned() {
        assertPlanFails("declare it BYTES", DataTypes.FIELD("_raw", DataTypes.STRING()));
        assertPlanFails("declare it STRING", DataTypes.FIELD("_err", DataTypes.INT()));
        assertPlanFails("is NOT NULL", DataTypes.FIELD("lane_no", DataTypes.INT().notNull()));
        assertPlanFails("records are flat", DataTypes.FIELD("tags", DataTypes.ARRAY(DataTypes.STRING())));
    }

    private static void assertPlanFails(String message, DataTypes.Field field) {
        ValidationException error = assertThrows(
                ValidationException.class, () -> open("lake-json", DataTypes.ROW(field), Map.of()));
        assertTrue(error.getMessage().contains(message), error.getMessage());
    }

    /** Why the jobs need no function of their own for the dead letter's payload. */
    @Test
    void flinksFormatWritesBytesAsBase64() throws Exception {
        DataType schema = DataTypes.ROW(DataTypes.FIELD("payload", DataTypes.BYTES()));
        SerializationFormatFactory factory = FactoryUtil.discoverFactory(
                getClass().getClassLoader(), SerializationFormatFactory.class, "json");
        SerializationSchema<RowData> encoder = factory.createEncodingFormat(null, new Configuration())
                .createRuntimeEncoder(null, schema);
        encoder.open(null);
        RowData row = GenericRowData.of((Object) new byte[] {(byte) 0xFF, 0, '{'});
        assertEquals("{\"payload\":\"/wB7\"}", new String(encoder.serialize(row), StandardCharsets.UTF_8));
    }

    @Test
    void endlessAndLegacyCallsWork() throws IOException {
        DeserializationSchema<RowData> decoder = open("lake-json", SCHEMA, Map.of());
        assertEquals(5, decoder.deserialize(utf8("{\"lane_no\":5}")).getInt(4));
        assertTrue(!decoder.isEndOfStream(decoder.deserialize(null)));
        assertNull(new LakeJsonDecoder((RowType) SCHEMA.getLogicalType())
                .decode(null)
                .getField(RAW));
    }
}
