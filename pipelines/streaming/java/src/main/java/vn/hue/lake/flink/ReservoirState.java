package vn.hue.lake.flink;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.logical.LogicalTypeRoot;

/**
 * Turns the reports of a reservoir into its state: level against normal level, free storage, inflow less outflow, rate.
 *
 * <pre>{@code
 * SELECT * FROM ReservoirState(
 *     input => TABLE reports PARTITION BY reservoir_id,
 *     reservoirs => 'TA-TRACH|normal|45;TA-TRACH|23|73.4;…', late_ms => CAST(86400000 AS BIGINT), uid => 'reservoir_state')
 * }</pre>
 *
 * <p>Columns of the input: {@code reservoir_id}, {@code level_m}, {@code inflow_m3s}, {@code outflow_m3s} (all
 * DECIMAL(9, 3)) and those of {@link ReadingColumns}. Rules: {@link ReservoirStateLogic}; tables: {@link ReservoirTables}.
 */
public final class ReservoirState extends ReadingFunction {

    private static final long serialVersionUID = 1L;
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("observed_at", INSTANT.notNull()),
            DataTypes.FIELD("level_m", DECIMAL),
            DataTypes.FIELD("normal_level_m", DECIMAL),
            DataTypes.FIELD("below_normal_m", DECIMAL),
            DataTypes.FIELD("storage_mm3", DECIMAL),
            DataTypes.FIELD("free_storage_mm3", DECIMAL),
            DataTypes.FIELD("inflow_m3s", DECIMAL),
            DataTypes.FIELD("outflow_m3s", DECIMAL),
            DataTypes.FIELD("net_inflow_m3s", DECIMAL),
            DataTypes.FIELD("rise_3h_mh", DECIMAL),
            DataTypes.FIELD("origin", DataTypes.STRING()),
            DataTypes.FIELD("received_at", INSTANT));

    private final ReadingColumns columns;
    private final int reservoirId;
    private final ReservoirTables reservoirTables;
    private transient ReservoirStateLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public ReservoirState() {
        this(null, -1, null, null);
    }

    private ReservoirState(ReadingColumns columns, int reservoirId, ReservoirTables tables, DataType inputType) {
        super(inputType);
        this.columns = columns;
        this.reservoirId = reservoirId;
        this.reservoirTables = tables;
    }

    /** Finds the columns and parses the tables when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        try {
            ReservoirTables parsed =
                    ReservoirTables.parse(Literals.of("ReservoirState", call, 1, "reservoirs", String.class));
            Literals.millis("ReservoirState", call, 2, "late_ms");
            TableColumns table = TableColumns.of("ReservoirState", call);
            int reservoir = table.require("reservoir_id", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
            ReadingColumns measures = ReadingColumns.of(table, SCALE, "level_m", "inflow_m3s", "outflow_m3s");
            return new ReservoirState(measures, reservoir, parsed, table.tableType());
        } catch (IllegalArgumentException e) {
            throw new ValidationException("ReservoirState: " + e.getMessage(), e);
        }
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        return inference(typeFactory, ReservoirStateLogic.State.class, OUTPUT, text("reservoirs"), millis("late_ms"));
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(ReservoirStateLogic.State state, RowData row, String reservoirs, Long lateMillis) {
        if (logic == null) {
            logic = new ReservoirStateLogic(reservoirTables, lateMillis);
        }
        if (row.isNullAt(reservoirId) || !columns.hasTime(row)) {
            return;
        }
        long[] measures = {columns.measure(row, 0), columns.measure(row, 1), columns.measure(row, 2)};
        for (ReservoirStateLogic.Row found : logic.evaluate(
                state,
                row.getString(reservoirId).toString(),
                columns.observedAt(row),
                measures,
                columns.receivedAt(row),
                columns.origin(row))) {
            collect(GenericRowData.of(
                    ReadingColumns.instant(found.observedAtMillis()),
                    exact(found.level()),
                    exact(found.normalLevel()),
                    exact(found.belowNormal()),
                    exact(found.storage()),
                    exact(found.freeStorage()),
                    exact(found.inflow()),
                    exact(found.outflow()),
                    exact(found.netInflow()),
                    rounded(found.risePerHour()),
                    Origins.text(found.origin()),
                    ReadingColumns.instant(found.receivedAtMillis())));
        }
    }
}
