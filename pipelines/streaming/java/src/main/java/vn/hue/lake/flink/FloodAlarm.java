package vn.hue.lake.flink;

import java.io.Serializable;
import java.math.BigDecimal;
import java.time.Duration;
import java.util.LinkedHashMap;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.StateTypeStrategy;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Turns river stages into transitions of the alarm levels BĐ1, BĐ2, BĐ3 and the historical record, evaluated on arrival.
 *
 * <pre>{@code
 * SELECT * FROM FloodAlarm(
 *     input => TABLE readings PARTITION BY station_id,
 *     levels => '71520|1|1.0|2020-03-20T00:00:00Z|;71520|2|2.0|2020-03-20T00:00:00Z|',
 *     hysteresis_m => 0.10, hold_ms => 1800000, uid => 'flood_alarm')
 * }</pre>
 *
 * <p>Columns of the input, in any order: {@code station_id STRING, observed_at TIMESTAMP_LTZ(p), stage_m
 * DECIMAL(9, 3), qc_flag INT, received_at TIMESTAMP_LTZ(p), origin STRING, raw_partition INT, raw_offset
 * BIGINT}. Rules: {@link FloodAlarmLogic}; levels: {@link AlarmLevels}. State: one small row per station, never removed.
 */
public final class FloodAlarm extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;
    private static final int LEVELS_ARGUMENT = 1;
    private static final int HYSTERESIS_ARGUMENT = 2;
    private static final int HOLD_ARGUMENT = 3;
    private static final int PRECISION = 9;
    private static final int SCALE = 3;
    private static final DataType STAGE = DataTypes.DECIMAL(PRECISION, SCALE);
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("alert_id", DataTypes.STRING().notNull()),
            DataTypes.FIELD("rule", DataTypes.STRING()),
            DataTypes.FIELD("level", DataTypes.INT()),
            DataTypes.FIELD("transition", DataTypes.STRING().notNull()),
            DataTypes.FIELD("transition_at", DataTypes.TIMESTAMP_LTZ(3).notNull()),
            DataTypes.FIELD("raised_at", DataTypes.TIMESTAMP_LTZ(3)),
            DataTypes.FIELD("stage_m", STAGE),
            DataTypes.FIELD("threshold_m", STAGE),
            DataTypes.FIELD("peak_stage_m", STAGE),
            DataTypes.FIELD("received_at", DataTypes.TIMESTAMP_LTZ(3)),
            DataTypes.FIELD("origin", DataTypes.STRING()),
            DataTypes.FIELD("raw_partition", DataTypes.INT()),
            DataTypes.FIELD("raw_offset", DataTypes.BIGINT()));

    /** Positions and precisions of the input's columns. */
    private record Input(
            int stationId,
            int observedAt,
            int observedAtPrecision,
            int stage,
            int stagePrecision,
            int qcFlag,
            int receivedAt,
            int receivedAtPrecision,
            int origin,
            int rawPartition,
            int rawOffset)
            implements Serializable {

        static Input of(TableColumns columns) {
            int observedAt = columns.require("observed_at", LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
            int receivedAt = columns.require("received_at", LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
            int stage = columns.require("stage_m", LogicalTypeRoot.DECIMAL);
            LogicalType stageType = columns.type(stage);
            if (((DecimalType) stageType).getScale() != SCALE || LogicalTypeChecks.getPrecision(stageType) > PRECISION) {
                throw new ValidationException(
                        "FloodAlarm: column stage_m has type " + stageType + "; declare it DECIMAL(9, 3).");
            }
            return new Input(
                    columns.require("station_id", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR),
                    observedAt,
                    LogicalTypeChecks.getPrecision(columns.type(observedAt)),
                    stage,
                    LogicalTypeChecks.getPrecision(stageType),
                    columns.require("qc_flag", LogicalTypeRoot.INTEGER),
                    receivedAt,
                    LogicalTypeChecks.getPrecision(columns.type(receivedAt)),
                    columns.require("origin", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR),
                    columns.require("raw_partition", LogicalTypeRoot.INTEGER),
                    columns.require("raw_offset", LogicalTypeRoot.BIGINT));
        }
    }

    private final Input input;
    private final AlarmLevels alarmLevels;
    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;
    private transient FloodAlarmLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public FloodAlarm() {
        this(null, null, null);
    }

    private FloodAlarm(Input input, AlarmLevels alarmLevels, DataType inputType) {
        this.input = input;
        this.alarmLevels = alarmLevels;
        this.inputType = inputType;
    }

    /** Finds the columns and parses the levels when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        try {
            AlarmLevels parsed = AlarmLevels.parse(Literals.of("FloodAlarm", call, LEVELS_ARGUMENT, "levels", String.class));
            new FloodAlarmLogic(
                    parsed,
                    AlarmLevels.millimetres(Literals.of("FloodAlarm", call, HYSTERESIS_ARGUMENT, "hysteresis_m", BigDecimal.class)),
                    Literals.of("FloodAlarm", call, HOLD_ARGUMENT, "hold_ms", Long.class));
            TableColumns columns = TableColumns.of("FloodAlarm", call);
            return new FloodAlarm(Input.of(columns), parsed, columns.tableType());
        } catch (IllegalArgumentException e) {
            throw new ValidationException("FloodAlarm: " + e.getMessage(), e);
        }
    }

    /** Written out, since annotations know no table of internal rows. */
    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put(
                "station",
                StateTypeStrategy.of(
                        TypeStrategies.explicit(DataTypes.of(FloodAlarmLogic.State.class).toDataType(typeFactory)),
                        Duration.ZERO));
        return TypeInference.newBuilder()
                .staticArguments(
                        TableColumns.argument(inputType),
                        StaticArgument.scalar("levels", DataTypes.STRING().notNull(), false),
                        StaticArgument.scalar("hysteresis_m", STAGE.notNull(), false),
                        StaticArgument.scalar("hold_ms", DataTypes.BIGINT().notNull(), false))
                .stateTypeStrategies(states)
                .outputTypeStrategy(TypeStrategies.explicit(OUTPUT.bridgedTo(RowData.class)))
                .build();
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(
            FloodAlarmLogic.State station, RowData row, String levels, BigDecimal hysteresisMetres, Long holdMillis) {
        if (logic == null) {
            logic = new FloodAlarmLogic(alarmLevels, AlarmLevels.millimetres(hysteresisMetres), holdMillis);
        }
        if (row.isNullAt(input.stationId) || row.isNullAt(input.observedAt)) {
            return; // No place in any station's history; such rows belong to the dead letter, before this function.
        }
        FloodAlarmLogic.Reading reading = new FloodAlarmLogic.Reading(
                row.getString(input.stationId).toString(),
                row.getTimestamp(input.observedAt, input.observedAtPrecision).getMillisecond(),
                row.isNullAt(input.stage)
                        ? null
                        : row.getDecimal(input.stage, input.stagePrecision, SCALE).toUnscaledLong(),
                row.isNullAt(input.qcFlag) ? null : row.getInt(input.qcFlag),
                row.isNullAt(input.rawPartition) ? null : row.getInt(input.rawPartition),
                row.isNullAt(input.rawOffset) ? null : row.getLong(input.rawOffset));
        for (FloodAlarmLogic.Transition transition : logic.evaluate(station, reading)) {
            collect(output(transition, reading, row));
        }
    }

    private RowData output(FloodAlarmLogic.Transition transition, FloodAlarmLogic.Reading reading, RowData row) {
        boolean isAlert = transition.level() != null;
        return GenericRowData.of(
                StringData.fromString(transition.alertId()),
                isAlert ? StringData.fromString(AlarmLevels.rule(transition.level())) : null,
                transition.level(),
                StringData.fromString(transition.kind().text()),
                TimestampData.fromEpochMillis(transition.atMillis()),
                transition.raisedAtMillis() == null ? null : TimestampData.fromEpochMillis(transition.raisedAtMillis()),
                isAlert ? metres(reading.stageMillimetres()) : null,
                metres(transition.thresholdMillimetres()),
                metres(transition.peakMillimetres()),
                row.isNullAt(input.receivedAt)
                        ? null
                        : TimestampData.fromEpochMillis(row.getTimestamp(input.receivedAt, input.receivedAtPrecision)
                                .getMillisecond()),
                row.isNullAt(input.origin) ? null : row.getString(input.origin),
                reading.rawPartition(),
                reading.rawOffset());
    }

    private static DecimalData metres(Long millimetres) {
        return millimetres == null ? null : DecimalData.fromUnscaledLong(millimetres, PRECISION, SCALE);
    }
}
