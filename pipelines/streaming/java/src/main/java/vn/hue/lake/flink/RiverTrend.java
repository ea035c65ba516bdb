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
 * Turns river stages into rates of rise over 1, 3 and 6 hours and the time to the next alarm level, on arrival.
 *
 * <pre>{@code
 * SELECT * FROM RiverTrend(
 *     input => TABLE readings PARTITION BY station_id,
 *     levels => '71520|1|1.0|2020-03-20T00:00:00Z|;…', late_ms => CAST(86400000 AS BIGINT), uid => 'river_trend')
 * }</pre>
 *
 * <p>Columns of the input: {@code station_id}, {@code stage_m DECIMAL(9, 3)} and those of {@link ReadingColumns}. Rules:
 * {@link RiverTrendLogic}; levels: {@link AlarmLevels}.
 */
public final class RiverTrend extends ReadingFunction {

    private static final long serialVersionUID = 1L;
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("observed_at", INSTANT.notNull()),
            DataTypes.FIELD("stage_m", DECIMAL),
            DataTypes.FIELD("rise_1h_mh", DECIMAL),
            DataTypes.FIELD("rise_3h_mh", DECIMAL),
            DataTypes.FIELD("rise_6h_mh", DECIMAL),
            DataTypes.FIELD("alarm_level", DataTypes.INT()),
            DataTypes.FIELD("next_alarm_level", DataTypes.INT()),
            DataTypes.FIELD("next_threshold_m", DECIMAL),
            DataTypes.FIELD("time_to_next_min", DataTypes.INT()),
            DataTypes.FIELD("origin", DataTypes.STRING()),
            DataTypes.FIELD("received_at", INSTANT));

    private final ReadingColumns columns;
    private final int stationId;
    private final AlarmLevels alarmLevels;
    private transient RiverTrendLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public RiverTrend() {
        this(null, -1, null, null);
    }

    private RiverTrend(ReadingColumns columns, int stationId, AlarmLevels alarmLevels, DataType inputType) {
        super(inputType);
        this.columns = columns;
        this.stationId = stationId;
        this.alarmLevels = alarmLevels;
    }

    /** Finds the columns and parses the levels when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        try {
            AlarmLevels parsed = AlarmLevels.parse(Literals.of("RiverTrend", call, 1, "levels", String.class));
            Literals.millis("RiverTrend", call, 2, "late_ms");
            TableColumns table = TableColumns.of("RiverTrend", call);
            int station = table.require("station_id", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
            return new RiverTrend(ReadingColumns.of(table, SCALE, "stage_m"), station, parsed, table.tableType());
        } catch (IllegalArgumentException e) {
            throw new ValidationException("RiverTrend: " + e.getMessage(), e);
        }
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        return inference(typeFactory, RiverTrendLogic.State.class, OUTPUT, text("levels"), millis("late_ms"));
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(RiverTrendLogic.State state, RowData row, String levels, Long lateMillis) {
        if (logic == null) {
            logic = new RiverTrendLogic(alarmLevels, lateMillis);
        }
        if (row.isNullAt(stationId) || !columns.hasTime(row)) {
            return;
        }
        for (RiverTrendLogic.Row found : logic.evaluate(
                state,
                row.getString(stationId).toString(),
                columns.observedAt(row),
                columns.measure(row, 0),
                columns.receivedAt(row),
                columns.origin(row))) {
            collect(GenericRowData.of(
                    ReadingColumns.instant(found.observedAtMillis()),
                    exact(found.stageMillimetres()),
                    rounded(found.risePerHour()[0]),
                    rounded(found.risePerHour()[1]),
                    rounded(found.risePerHour()[2]),
                    found.level(),
                    found.nextLevel(),
                    exact(found.nextThreshold()),
                    found.minutesToNext(),
                    Origins.text(found.origin()),
                    ReadingColumns.instant(found.receivedAtMillis())));
        }
    }
}
