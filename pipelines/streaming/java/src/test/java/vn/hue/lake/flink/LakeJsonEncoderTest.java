package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Random;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.formats.json.JsonFormatFactory;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.factories.SerializationFormatFactory;
import org.apache.flink.table.runtime.connector.sink.SinkRuntimeProviderContext;
import org.apache.flink.table.types.DataType;
import org.apache.flink.util.InstantiationUtil;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.flink.util.UserCodeClassLoader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is written is what Flink's own format writes, byte for byte, and what our decoder reads back. */
class LakeJsonEncoderTest {

    private static final DataType SCHEMA = DataTypes.ROW(
            DataTypes.FIELD("station \"Phú Ốc\"", DataTypes.STRING()),
            DataTypes.FIELD("observed_at", DataTypes.TIMESTAMP_LTZ(9)),
            DataTypes.FIELD("local_at", DataTypes.TIMESTAMP(3)),
            DataTypes.FIELD("stage_m", DataTypes.DECIMAL(9, 3)),
            DataTypes.FIELD("total", DataTypes.DECIMAL(38, 10)),
            DataTypes.FIELD("lane_no", DataTypes.INT()),
            DataTypes.FIELD("count_big", DataTypes.BIGINT()),
            DataTypes.FIELD("small", DataTypes.SMALLINT()),
            DataTypes.FIELD("tiny", DataTypes.TINYINT()),
            DataTypes.FIELD("fps", DataTypes.DOUBLE()),
            DataTypes.FIELD("ratio", DataTypes.FLOAT()),
            DataTypes.FIELD("is_online", DataTypes.BOOLEAN()),
            DataTypes.FIELD("valid_from", DataTypes.DATE()),
            DataTypes.FIELD("_raw", DataTypes.BYTES()));
    private static final int COLUMNS = 14;
    private static final Map<String, String> AS_OURS = Map.of(
            "timestamp-format.standard", "ISO-8601",
            "encode.decimal-as-plain-number", "true",
            "encode.ignore-null-fields", "true");
    private static final String[] TEXTS = {
        "", "HUE-D01", "Phú Ốc", "say \"hi\" \\ /", "tab\tline\nreturn\rpage\fback\b", "zero\u0000 unit\u001f del\u007f", "水位 ½",
    };

    private static SerializationSchema<RowData> ours() throws Exception {
        SerializationFormatFactory factory = FactoryUtil.discoverFactory(
                LakeJsonEncoderTest.class.getClassLoader(), SerializationFormatFactory.class, "lake-json");
        return opened(factory, Map.of(), SCHEMA);
    }

    private static SerializationSchema<RowData> flinks() throws Exception {
        return opened(new JsonFormatFactory(), AS_OURS, SCHEMA);
    }

    private static SerializationSchema<RowData> opened(
            SerializationFormatFactory factory, Map<String, String> options, DataType schema) throws Exception {
        SerializationSchema<RowData> encoder = InstantiationUtil.clone(factory
                .createEncodingFormat(null, Configuration.fromMap(options))
                .createRuntimeEncoder(new SinkRuntimeProviderContext(false), schema));
        encoder.open(new SerializationSchema.InitializationContext() {
            @Override
            public MetricGroup getMetricGroup() {
                return new UnregisteredMetricsGroup();
            }

            @Override
            public UserCodeClassLoader getUserCodeClassLoader() {
                return SimpleUserCodeClassLoader.create(LakeJsonEncoderTest.class.getClassLoader());
            }
        });
        return encoder;
    }

    /** Values of every type; small numbers and whole ones are as likely as any. */
    private static GenericRowData random(Random random) {
        GenericRowData row = new GenericRowData(COLUMNS);
        Object[] values = {
            StringData.fromString(TEXTS[random.nextInt(TEXTS.length)]),
            TimestampData.fromEpochMillis(random.nextLong(-70_000_000_000_000L, 250_000_000_000_000L), nanos(random)),
            TimestampData.fromEpochMillis(random.nextInt() * 1000L),
            DecimalData.fromUnscaledLong(number(random, 999_999_999), 9, 3),
            DecimalData.fromBigDecimal(new BigDecimal(new BigInteger(random.nextInt(124), random), 10), 38, 10),
            (int) number(random, Integer.MAX_VALUE),
            number(random, Long.MAX_VALUE),
            (short) number(random, Short.MAX_VALUE),
            (byte) number(random, Byte.MAX_VALUE),
            random.nextInt(4) == 0 ? Double.NaN : random.nextGaussian() * Math.pow(10, random.nextInt(-30, 30)),
            random.nextInt(4) == 0 ? Float.NEGATIVE_INFINITY : random.nextFloat(),
            random.nextBoolean(),
            random.nextInt(-719_000, 2_900_000),
            new byte[random.nextInt(10)],
        };
        for (int i = 0; i < COLUMNS; i++) {
            if (random.nextInt(4) != 0) {
                row.setField(i, values[i]);
            }
        }
        return row;
    }

    private static int nanos(Random random) {
        return random.nextBoolean() ? 0 : random.nextInt(1_000_000);
    }

    private static long number(Random random, long maximum) {
        long value = random.nextLong(maximum) >> random.nextInt(Long.numberOfTrailingZeros(Long.highestOneBit(maximum)) + 1);
        return switch (random.nextInt(4)) {
            case 0 -> -value;
            case 1 -> value / 1000 * 1000;
            default -> value;
        };
    }

    @Test
    void randomRowsAreWrittenAsByFlinksFormat() throws Exception {
        SerializationSchema<RowData> ours = ours();
        SerializationSchema<RowData> flinks = flinks();
        Random random = new Random(334);
        for (int i = 0; i < 20_000; i++) {
            RowData row = random(random);
            assertEquals(text(flinks.serialize(row)), text(ours.serialize(row)));
        }
    }

    @Test
    void whatIsWrittenIsReadBack() throws Exception {
        DeserializationSchema<RowData> decoder = LakeJsonFormatTest.open("lake-json", SCHEMA, Map.of());
        SerializationSchema<RowData> ours = ours();
        Random random = new Random(335);
        for (int i = 0; i < 5_000; i++) {
            GenericRowData row = random(random);
            row.setField(9, 1.5);
            row.setField(10, 0.25f);
            row.setField(13, null); // _raw is not decoded: it holds the record's own bytes
            row.setField(1, TimestampData.fromEpochMillis(random.nextLong(0, 250_000_000_000_000L)));
            row.setField(2, TimestampData.fromEpochMillis(random.nextInt(0, Integer.MAX_VALUE)));
            row.setField(12, random.nextInt(0, 2_900_000));
            byte[] written = ours.serialize(row);
            GenericRowData read = (GenericRowData) decoder.deserialize(written);
            read.setField(13, null);
            assertEquals(row, read, text(written));
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {Long.MIN_VALUE, Long.MAX_VALUE, -1, 0, 9, 10, 99, 100, 999_999_999_999_999_999L, 1_000_000_000_000_000_000L})
    void wholeNumbers(long value) throws Exception {
        GenericRowData row = new GenericRowData(COLUMNS);
        row.setField(6, value);
        assertEquals("{\"count_big\":" + value + "}", text(ours().serialize(row)));
    }

    @Test
    void lettersOutsideTheBasicPlaneStayLetters() throws Exception {
        GenericRowData row = new GenericRowData(COLUMNS);
        row.setField(0, StringData.fromString("mưa 🌧"));
        ObjectMapper json = new ObjectMapper();
        assertEquals(json.readTree(flinks().serialize(row)), json.readTree(ours().serialize(row)));
    }

    @Test
    void aRowOfNullsIsAnEmptyObject() throws Exception {
        assertEquals("{}", text(ours().serialize(new GenericRowData(COLUMNS))));
    }

    @Test
    void longTextsGrowTheBuffer() throws Exception {
        GenericRowData row = new GenericRowData(COLUMNS);
        row.setField(0, StringData.fromString("\u0001\"é".repeat(100_000)));
        assertEquals(text(flinks().serialize(row)), text(ours().serialize(row)));
    }

    @Test
    void unsuitableColumnsAreRefusedWhenTheJobIsPlanned() {
        DataType nested = DataTypes.ROW(DataTypes.FIELD("list", DataTypes.ARRAY(DataTypes.INT())));
        ValidationException thrown = assertThrows(
                ValidationException.class, () -> opened(new LakeJsonFormatFactory(), Map.of(), nested));
        assertTrue(thrown.getMessage().contains("column list has type"), thrown.getMessage());
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
