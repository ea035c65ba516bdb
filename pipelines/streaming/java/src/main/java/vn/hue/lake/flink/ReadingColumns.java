package vn.hue.lake.flink;

import java.io.Serializable;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * What the functions over readings take from a row of a conformed stream: {@code observed_at} and {@code received_at}
 * (TIMESTAMP_LTZ), {@code origin}, {@code qc_flag}, and decimal measures, whose unscaled numbers they compute with.
 */
final class ReadingColumns implements Serializable {

    private static final long serialVersionUID = 1L;

    private final int observedAt;
    private final int observedAtPrecision;
    private final int receivedAt;
    private final int receivedAtPrecision;
    private final int origin;
    private final int qcFlag;
    private final int[] measures;
    private final int[] precisions;
    private final int scale;

    private ReadingColumns(TableColumns columns, int scale, String... measures) {
        observedAt = columns.require("observed_at", LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
        observedAtPrecision = LogicalTypeChecks.getPrecision(columns.type(observedAt));
        receivedAt = columns.require("received_at", LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
        receivedAtPrecision = LogicalTypeChecks.getPrecision(columns.type(receivedAt));
        origin = columns.require("origin", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
        qcFlag = columns.require("qc_flag", LogicalTypeRoot.INTEGER);
        this.measures = new int[measures.length];
        precisions = new int[measures.length];
        this.scale = scale;
        for (int i = 0; i < measures.length; i++) {
            this.measures[i] = columns.require(measures[i], LogicalTypeRoot.DECIMAL);
            precisions[i] = columns.decimalPrecision(this.measures[i], scale);
        }
    }

    /**
     * Finds the columns by name when the job is planned; the order of {@code measures} is that of their numbers.
     *
     * @param scale the decimals that every measure has, and the function's output too
     */
    static ReadingColumns of(TableColumns columns, int scale, String... measures) {
        return new ReadingColumns(columns, scale, measures);
    }

    /** Whether the row has a place in the history of its entity; one without belongs to the dead letter. */
    boolean hasTime(RowData row) {
        return !row.isNullAt(observedAt) && !row.isNullAt(receivedAt);
    }

    long observedAt(RowData row) {
        return row.getTimestamp(observedAt, observedAtPrecision).getMillisecond();
    }

    long receivedAt(RowData row) {
        return row.getTimestamp(receivedAt, receivedAtPrecision).getMillisecond();
    }

    int origin(RowData row) {
        return Origins.code(row.isNullAt(origin) ? "" : row.getString(origin).toString());
    }

    /** The unscaled number of a measure; {@link Series#MISSING} where it is NULL or quality control refused the row. */
    long measure(RowData row, int which) {
        int index = measures[which];
        boolean isUsable = QcFlags.isUsable(row.isNullAt(qcFlag) ? null : row.getInt(qcFlag));
        if (!isUsable || row.isNullAt(index)) {
            return Series.MISSING;
        }
        return row.getDecimal(index, precisions[which], scale).toUnscaledLong();
    }

    static DecimalData decimal(long unscaled, int precision, int scale) {
        return unscaled == Series.MISSING ? null : DecimalData.fromUnscaledLong(unscaled, precision, scale);
    }

    static TimestampData instant(long millis) {
        return millis == Series.MISSING ? null : TimestampData.fromEpochMillis(millis);
    }
}
