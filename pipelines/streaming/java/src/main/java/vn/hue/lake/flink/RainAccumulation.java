package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.TypeInference;

/**
 * Turns the readings of a rain gauge into sums over 1, 3, 6, 12 and 24 hours and over the rain event, on arrival, each
 * with its coverage.
 *
 * <pre>{@code
 * SELECT * FROM RainAccumulation(
 *     input => TABLE readings PARTITION BY station_id, period_ms => CAST(600000 AS BIGINT),
 *     dry_ms => CAST(21600000 AS BIGINT), late_ms => CAST(86400000 AS BIGINT), uid => 'rain_accumulation')
 * }</pre>
 *
 * <p>Columns of the input: {@code rain_mm DECIMAL(9, 3)} and those of {@link ReadingColumns}. Rules:
 * {@link RainAccumulationLogic}.
 */
public final class RainAccumulation extends ReadingFunction {

    private static final long serialVersionUID = 1L;
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("observed_at", INSTANT.notNull()),
            DataTypes.FIELD("rain_1h_mm", DECIMAL),
            DataTypes.FIELD("coverage_1h_pct", DECIMAL),
            DataTypes.FIELD("rain_3h_mm", DECIMAL),
            DataTypes.FIELD("coverage_3h_pct", DECIMAL),
            DataTypes.FIELD("rain_6h_mm", DECIMAL),
            DataTypes.FIELD("coverage_6h_pct", DECIMAL),
            DataTypes.FIELD("rain_12h_mm", DECIMAL),
            DataTypes.FIELD("coverage_12h_pct", DECIMAL),
            DataTypes.FIELD("rain_24h_mm", DECIMAL),
            DataTypes.FIELD("coverage_24h_pct", DECIMAL),
            DataTypes.FIELD("event_started_at", INSTANT),
            DataTypes.FIELD("event_rain_mm", DECIMAL),
            DataTypes.FIELD("event_coverage_pct", DECIMAL),
            DataTypes.FIELD("origin", DataTypes.STRING()),
            DataTypes.FIELD("received_at", INSTANT));

    private final ReadingColumns columns;
    private transient RainAccumulationLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public RainAccumulation() {
        this(null, null);
    }

    private RainAccumulation(ReadingColumns columns, DataType inputType) {
        super(inputType);
        this.columns = columns;
    }

    /** Finds the columns and checks the durations when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        Literals.millis("RainAccumulation", call, 1, "period_ms");
        Literals.millis("RainAccumulation", call, 2, "dry_ms");
        Literals.millis("RainAccumulation", call, 3, "late_ms");
        TableColumns table = TableColumns.of("RainAccumulation", call);
        return new RainAccumulation(ReadingColumns.of(table, SCALE, "rain_mm"), table.tableType());
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        return inference(
                typeFactory,
                RainAccumulationLogic.State.class,
                OUTPUT,
                millis("period_ms"),
                millis("dry_ms"),
                millis("late_ms"));
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(
            RainAccumulationLogic.State state, RowData row, Long periodMillis, Long dryMillis, Long lateMillis) {
        if (logic == null) {
            logic = new RainAccumulationLogic(periodMillis, dryMillis, lateMillis);
        }
        if (!columns.hasTime(row)) {
            return;
        }
        for (RainAccumulationLogic.Row found : logic.evaluate(
                state,
                columns.observedAt(row),
                columns.measure(row, 0),
                columns.receivedAt(row),
                columns.origin(row))) {
            collect(output(found));
        }
    }

    private static RowData output(RainAccumulationLogic.Row found) {
        List<Object> fields = new ArrayList<>();
        fields.add(ReadingColumns.instant(found.observedAtMillis()));
        for (int i = 0; i < found.sums().length; i++) {
            fields.add(exact(found.sums()[i]));
            fields.add(percent(found.coverages()[i]));
        }
        fields.add(found.eventStartedAtMillis() == null ? null : ReadingColumns.instant(found.eventStartedAtMillis()));
        fields.add(exact(found.eventSum()));
        fields.add(found.eventCoverage() == null ? null : percent(found.eventCoverage()));
        fields.add(Origins.text(found.origin()));
        fields.add(ReadingColumns.instant(found.receivedAtMillis()));
        return GenericRowData.of(fields.toArray());
    }

    private static Object percent(RainAccumulationLogic.Coverage coverage) {
        return rounded(100_000.0 * coverage.periods() / coverage.expected());
    }
}
