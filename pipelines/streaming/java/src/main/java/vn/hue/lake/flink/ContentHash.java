package vn.hue.lake.flink;

import java.io.Serializable;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * A 64-bit hash of some columns of a row. NULL differs from every value, and a value's column counts.
 *
 * <p>Hashes are kept in Flink's state: the function may never change. Only the few contents of one key are compared with
 * each other, so that 64 bits are ample.
 */
final class ContentHash implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final long GOLDEN = 0x9E3779B97F4A7C15L;
    private static final long NULL_MARK = 0xD1B54A32D192ED03L;

    private final int[] indexes;
    private final LogicalType[] types;

    ContentHash(int[] indexes, LogicalType[] types) {
        this.indexes = indexes.clone();
        this.types = types.clone();
    }

    /** Throws if a column's type has no canonical bytes to hash. */
    static void check(String column, LogicalType type) {
        switch (type.getTypeRoot()) {
            case CHAR, VARCHAR, BINARY, VARBINARY, BOOLEAN, TINYINT, SMALLINT, INTEGER, DATE, TIME_WITHOUT_TIME_ZONE,
                    BIGINT, FLOAT, DOUBLE, DECIMAL, TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> {}
            default -> throw new ValidationException("Disposition: column " + column + " has type " + type
                    + ", whose content cannot be compared; begin its name with _ to leave it out.");
        }
    }

    /** Returns the hash of the columns of this row. */
    long of(RowData row) {
        long hash = GOLDEN;
        for (int i = 0; i < indexes.length; i++) {
            long value = row.isNullAt(indexes[i]) ? NULL_MARK : value(row, indexes[i], types[i]);
            hash = mix(hash ^ value) + GOLDEN;
        }
        return hash;
    }

    private static long value(RowData row, int index, LogicalType type) {
        return switch (type.getTypeRoot()) {
            case CHAR, VARCHAR -> bytes(row.getString(index).toBytes());
            case BINARY, VARBINARY -> bytes(row.getBinary(index));
            case BOOLEAN -> row.getBoolean(index) ? 1 : 0;
            case TINYINT -> row.getByte(index);
            case SMALLINT -> row.getShort(index);
            case INTEGER, DATE, TIME_WITHOUT_TIME_ZONE -> row.getInt(index);
            case BIGINT -> row.getLong(index);
            // 0.0 and -0.0 are one value, as they are in SQL.
            case FLOAT -> Float.floatToIntBits(row.getFloat(index) + 0.0f);
            case DOUBLE -> Double.doubleToLongBits(row.getDouble(index) + 0.0);
            case DECIMAL -> decimal(row, index, (DecimalType) type);
            case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> {
                TimestampData time = row.getTimestamp(index, LogicalTypeChecks.getPrecision(type));
                yield mix(time.getMillisecond()) + time.getNanoOfMillisecond();
            }
            default -> throw new IllegalStateException("Unchecked type " + type);
        };
    }

    private static long decimal(RowData row, int index, DecimalType type) {
        DecimalData decimal = row.getDecimal(index, type.getPrecision(), type.getScale());
        return decimal.isCompact() ? decimal.toUnscaledLong() : bytes(decimal.toUnscaledBytes());
    }

    private static long bytes(byte[] bytes) {
        long hash = bytes.length;
        int i = 0;
        for (; i + Long.BYTES <= bytes.length; i += Long.BYTES) {
            hash = mix(hash ^ (long) LONGS.get(bytes, i)) + GOLDEN;
        }
        long tail = 0;
        for (; i < bytes.length; i++) {
            tail = tail << Byte.SIZE | (bytes[i] & 0xFF);
        }
        return mix(hash ^ tail);
    }

    /** The finaliser of SplitMix64: every bit of the input reaches every bit of the output. */
    private static long mix(long value) {
        long z = (value ^ (value >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
