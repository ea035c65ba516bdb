package vn.hue.lake.flink;

import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Writes one row as one flat JSON object, straight from Flink's internal structures to bytes.
 *
 * <p>The text is that of Flink's json format with {@code timestamp-format.standard = ISO-8601}, {@code
 * encode.decimal-as-plain-number} and {@code encode.ignore-null-fields}: NULL columns are left out, times are UTC with
 * as many decimals as they have, decimals are plain numbers. Flink's own makes a tree of objects first.
 */
final class LakeJsonEncoder {

    private record Column(int index, byte[] name, ValueWriter writer) {}

    /** Writes the value of a column that is not NULL. */
    @FunctionalInterface
    private interface ValueWriter {
        void write(RowData row, int index, JsonOutput out);
    }

    private final Column[] columns;
    private final JsonOutput out = new JsonOutput();

    /** Builds the writers of the row's columns; every type is one that {@link FieldDecoders} supports. */
    LakeJsonEncoder(RowType rowType) {
        List<String> names = rowType.getFieldNames();
        columns = new Column[names.size()];
        for (int i = 0; i < columns.length; i++) {
            JsonOutput name = new JsonOutput();
            name.quoted(names.get(i).getBytes(StandardCharsets.UTF_8));
            name.ascii(':');
            columns[i] = new Column(i, name.toBytes(), writer(rowType.getTypeAt(i)));
        }
    }

    byte[] encode(RowData row) {
        out.clear();
        char before = '{';
        for (Column column : columns) {
            if (!row.isNullAt(column.index)) {
                out.ascii(before);
                out.bytes(column.name);
                column.writer.write(row, column.index, out);
                before = ',';
            }
        }
        if (before == '{') {
            out.ascii(before);
        }
        out.ascii('}');
        return out.toBytes();
    }

    private static ValueWriter writer(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case CHAR, VARCHAR -> (row, i, out) -> out.quoted(row.getString(i).toBytes());
            case BOOLEAN -> (row, i, out) -> out.ascii(row.getBoolean(i) ? "true" : "false");
            case TINYINT -> (row, i, out) -> out.integer(row.getByte(i));
            case SMALLINT -> (row, i, out) -> out.integer(row.getShort(i));
            case INTEGER -> (row, i, out) -> out.integer(row.getInt(i));
            case BIGINT -> (row, i, out) -> out.integer(row.getLong(i));
            case FLOAT -> (row, i, out) -> {
                float value = row.getFloat(i);
                out.floating(Float.toString(value), Float.isFinite(value));
            };
            case DOUBLE -> (row, i, out) -> {
                double value = row.getDouble(i);
                out.floating(Double.toString(value), Double.isFinite(value));
            };
            case DECIMAL -> {
                int precision = ((DecimalType) type).getPrecision();
                int scale = ((DecimalType) type).getScale();
                yield (row, i, out) -> out.decimal(row.getDecimal(i, precision, scale));
            }
            case DATE -> (row, i, out) -> out.date(row.getInt(i));
            case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> {
                int precision = LogicalTypeChecks.getPrecision(type);
                boolean zoned = type.is(LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
                yield (row, i, out) -> out.timestamp(row.getTimestamp(i, precision), zoned);
            }
            case VARBINARY -> (row, i, out) -> out.quoted(Base64.getEncoder().encode(row.getBinary(i)));
            default -> throw new IllegalArgumentException("No writer for " + type);
        };
    }
}
