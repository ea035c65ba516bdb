package vn.hue.lake.flink;

import java.io.Serializable;
import java.time.Duration;
import java.util.LinkedHashMap;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
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
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.table.types.logical.LogicalTypeRoot;

/**
 * Turns the time windows of road sections into raises and clears of traffic incidents.
 *
 * <pre>{@code
 * SELECT * FROM TrafficIncident(
 *     input => TABLE sections PARTITION BY section_id,
 *     thresholds => 'incident_method:key|raise_window_count:number|…;speed_threshold|2|…',
 *     uid => 'traffic_incident')
 * }</pre>
 *
 * <p>Columns of the input, in any order: {@code section_id STRING, window_start TIMESTAMP(3), window_end TIMESTAMP(3),
 * free_flow_ratio_pct DOUBLE, upstream_occupancy_pct DOUBLE, downstream_occupancy_pct DOUBLE}; the windows of a section
 * come in order of time, as a window aggregate emits them. All columns pass through. Rules: {@link IncidentLogic}; form of the thresholds: {@link CodeListRows}. State: one small row per section, never
 * removed.
 */
public final class TrafficIncident extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;
    private static final int THRESHOLDS_ARGUMENT = 1;
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("alert_id", DataTypes.STRING().notNull()),
            DataTypes.FIELD("incident_method", DataTypes.STRING().notNull()),
            DataTypes.FIELD("transition", DataTypes.STRING().notNull()),
            DataTypes.FIELD("transition_at", DataTypes.TIMESTAMP_LTZ(3).notNull()),
            DataTypes.FIELD("started_at", DataTypes.TIMESTAMP_LTZ(3).notNull()),
            DataTypes.FIELD("raised_at", DataTypes.TIMESTAMP_LTZ(3).notNull()));

    /** Positions of the input's columns. */
    private record Input(
            int sectionId,
            int windowStart,
            int windowEnd,
            int freeFlowRatio,
            int upstreamOccupancy,
            int downstreamOccupancy)
            implements Serializable {

        static Input of(TableColumns columns) {
            return new Input(
                    columns.require("section_id", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR),
                    columns.require("window_start", LogicalTypeRoot.TIMESTAMP_WITHOUT_TIME_ZONE),
                    columns.require("window_end", LogicalTypeRoot.TIMESTAMP_WITHOUT_TIME_ZONE),
                    columns.require("free_flow_ratio_pct", LogicalTypeRoot.DOUBLE),
                    columns.require("upstream_occupancy_pct", LogicalTypeRoot.DOUBLE),
                    columns.require("downstream_occupancy_pct", LogicalTypeRoot.DOUBLE));
        }
    }

    private static final int WINDOW_PRECISION = 3;

    private final Input input;
    private final CodeListRows thresholds;
    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;
    private transient IncidentLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public TrafficIncident() {
        this(null, null, null);
    }

    private TrafficIncident(Input input, CodeListRows thresholds, DataType inputType) {
        this.input = input;
        this.thresholds = thresholds;
        this.inputType = inputType;
    }

    /** Finds the columns and parses the thresholds when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        String text = call.getArgumentValue(THRESHOLDS_ARGUMENT, String.class)
                .orElseThrow(() -> new ValidationException(
                        "TrafficIncident: the argument thresholds must be a literal."));
        try {
            CodeListRows parsed = CodeListRows.parse(text);
            new IncidentLogic(parsed);
            TableColumns columns = TableColumns.of("TrafficIncident", call);
            return new TrafficIncident(Input.of(columns), parsed, columns.tableType());
        } catch (IllegalArgumentException e) {
            throw new ValidationException("TrafficIncident: " + e.getMessage(), e);
        }
    }

    /** Written out, since annotations know no table of internal rows. */
    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put(
                "section",
                StateTypeStrategy.of(
                        TypeStrategies.explicit(DataTypes.of(IncidentLogic.State.class).toDataType(typeFactory)),
                        Duration.ZERO));
        return TypeInference.newBuilder()
                .staticArguments(
                        TableColumns.argument(inputType, StaticArgumentTrait.PASS_COLUMNS_THROUGH),
                        StaticArgument.scalar("thresholds", DataTypes.STRING().notNull(), false))
                .stateTypeStrategies(states)
                .outputTypeStrategy(TypeStrategies.explicit(OUTPUT.bridgedTo(RowData.class)))
                .build();
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(IncidentLogic.State section, RowData row, String unusedThresholds) {
        if (logic == null) {
            logic = new IncidentLogic(thresholds);
        }
        if (row.isNullAt(input.sectionId)) {
            return; // A detector that belongs to no section.
        }
        IncidentLogic.Window window = new IncidentLogic.Window(
                row.getString(input.sectionId).toString(),
                row.getTimestamp(input.windowStart, WINDOW_PRECISION).getMillisecond(),
                row.getTimestamp(input.windowEnd, WINDOW_PRECISION).getMillisecond(),
                number(row, input.freeFlowRatio),
                number(row, input.upstreamOccupancy),
                number(row, input.downstreamOccupancy));
        for (IncidentLogic.Transition transition : logic.evaluate(section, window)) {
            collect(output(transition));
        }
    }

    private static Double number(RowData row, int index) {
        return row.isNullAt(index) ? null : row.getDouble(index);
    }

    private static RowData output(IncidentLogic.Transition transition) {
        return GenericRowData.of(
                StringData.fromString(transition.alertId()),
                StringData.fromString(transition.method()),
                StringData.fromString(transition.isRaise() ? "raise" : "clear"),
                TimestampData.fromEpochMillis(transition.atMillis()),
                TimestampData.fromEpochMillis(transition.startedAtMillis()),
                TimestampData.fromEpochMillis(transition.raisedAtMillis()));
    }
}
