package vn.hue.lake.flink;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.logical.LogicalTypeRoot;

/**
 * Turns the readings of the flood sites of a ward into its highest and mean depth with the number of live sensors.
 *
 * <pre>{@code
 * SELECT * FROM UrbanDepth(
 *     input => TABLE readings PARTITION BY ward_code, live_ms => CAST(1200000 AS BIGINT),
 *     late_ms => CAST(86400000 AS BIGINT), uid => 'urban_depth_ward')
 * }</pre>
 *
 * <p>Columns of the input: {@code site_id}, {@code depth_cm DECIMAL(9, 1)} and those of {@link ReadingColumns}. Rules:
 * {@link UrbanDepthLogic}.
 */
public final class UrbanDepth extends ReadingFunction {

    private static final long serialVersionUID = 1L;
    private static final int PRECISION = 9;
    private static final int SCALE = 1;
    private static final DataType DEPTH = DataTypes.DECIMAL(PRECISION, SCALE);
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("observed_at", INSTANT.notNull()),
            DataTypes.FIELD("max_depth_cm", DEPTH),
            DataTypes.FIELD("mean_depth_cm", DEPTH),
            DataTypes.FIELD("deepest_site_id", DataTypes.STRING()),
            DataTypes.FIELD("live_site_count", DataTypes.INT().notNull()),
            DataTypes.FIELD("origin", DataTypes.STRING()),
            DataTypes.FIELD("received_at", INSTANT));

    private final ReadingColumns columns;
    private final int siteId;
    private transient UrbanDepthLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public UrbanDepth() {
        this(null, -1, null);
    }

    private UrbanDepth(ReadingColumns columns, int siteId, DataType inputType) {
        super(inputType);
        this.columns = columns;
        this.siteId = siteId;
    }

    /** Finds the columns and checks the durations when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        Literals.millis("UrbanDepth", call, 1, "live_ms");
        Literals.millis("UrbanDepth", call, 2, "late_ms");
        TableColumns table = TableColumns.of("UrbanDepth", call);
        int site = table.require("site_id", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
        return new UrbanDepth(ReadingColumns.of(table, SCALE, "depth_cm"), site, table.tableType());
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        return inference(typeFactory, UrbanDepthLogic.State.class, OUTPUT, millis("live_ms"), millis("late_ms"));
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(UrbanDepthLogic.State state, RowData row, Long liveMillis, Long lateMillis) {
        if (logic == null) {
            logic = new UrbanDepthLogic(liveMillis, lateMillis);
        }
        if (row.isNullAt(siteId) || !columns.hasTime(row)) {
            return;
        }
        for (UrbanDepthLogic.Row found : logic.evaluate(
                state,
                row.getString(siteId).toString(),
                columns.observedAt(row),
                columns.measure(row, 0),
                columns.receivedAt(row),
                columns.origin(row))) {
            collect(GenericRowData.of(
                    ReadingColumns.instant(found.observedAtMillis()),
                    depth(found.maxDepth()),
                    found.meanDepth() == null ? null : depth((long) Math.rint(found.meanDepth())),
                    StringData.fromString(found.deepestSite()),
                    found.liveSites(),
                    Origins.text(found.origin()),
                    ReadingColumns.instant(found.receivedAtMillis())));
        }
    }

    private static Object depth(Long unscaled) {
        return unscaled == null ? null : ReadingColumns.decimal(unscaled, PRECISION, SCALE);
    }
}
