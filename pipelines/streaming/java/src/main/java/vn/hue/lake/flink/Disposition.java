package vn.hue.lake.flink;

import java.time.Duration;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.api.dataview.MapView;
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
import org.apache.flink.table.types.inference.TypeStrategy;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Adds the column {@code disposition}, one of on_time, late, corrected and duplicate, to every row of a table.
 *
 * <pre>{@code
 * SELECT * FROM Disposition(
 *     input => TABLE parsed PARTITION BY (_block, station_id), instant => CAST('observed_at' AS STRING),
 *     horizon_ms => CAST(86400000 AS BIGINT), on_time => DESCRIPTOR(_rowtime), uid => 'river_stage_disposition')
 * }</pre>
 *
 * <p>A reading is a partition's rows of one {@code instant}, a column of the contract's key; with an empty name the
 * partition is the reading. The partition says the rest of the key. It may also say in which block of time the instant
 * lies: few readings then share a state, which is read and written whole, and RocksDB keeps neighbours in time together.
 *
 * <p>The table has the columns {@code _revision INT} (NULL is 0), {@code _received_at TIMESTAMP_LTZ NOT NULL} (the arrival
 * clock) and {@code _late BOOLEAN} (NULL is false). Its content is every other column that is no key and whose name does
 * not begin with {@code _}. All columns pass through; {@code disposition} follows and, with {@code on_time},
 * {@code rowtime}. Rules: {@link DispositionLogic}.
 *
 * <p>State: {@value DispositionLogic#ENTRY} bytes a reading. A sender that reports far more often than its contract says
 * fills a block; the readings beyond {@value DispositionLogic#CROWD} then have a state each, so that what a row costs is
 * bounded. A state is removed by the wall clock twice the horizon plus one day after its last change: the second half and
 * the day are for a job that stood still and catches up. A longer outage wants a rebuild.
 */
public final class Disposition extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;
    private static final int INSTANT_ARGUMENT = 1;
    private static final int HORIZON_ARGUMENT = 2;
    /** The key of the readings that share an array; no instant is this one. */
    private static final Long TOGETHER = Long.MIN_VALUE;

    private static final int MICROS = 6;

    private final int instantIndex;
    private final int instantPrecision;
    private final int revisionIndex;
    private final int receivedAtIndex;
    private final int receivedAtPrecision;
    private final int lateIndex;
    private final ContentHash contentHash;
    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;
    private transient Map<DispositionLogic.Disposition, RowData> outputs;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public Disposition() {
        instantIndex = -1;
        instantPrecision = -1;
        revisionIndex = -1;
        receivedAtIndex = -1;
        receivedAtPrecision = -1;
        lateIndex = -1;
        contentHash = null;
        inputType = null;
    }

    private Disposition(String instant, TableColumns columns) {
        instantIndex = instant.isEmpty() ? -1 : columns.require(instant, LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
        instantPrecision = instantIndex < 0 ? 0 : LogicalTypeChecks.getPrecision(columns.type(instantIndex));
        if (instantPrecision > MICROS) {
            throw new ValidationException("Disposition: column " + instant + " has type " + columns.type(instantIndex)
                    + "; instants are told apart by the microsecond, declare TIMESTAMP_LTZ(6) or less.");
        }
        revisionIndex = columns.require("_revision", LogicalTypeRoot.INTEGER);
        receivedAtIndex = columns.require("_received_at", LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
        lateIndex = columns.require("_late", LogicalTypeRoot.BOOLEAN);
        LogicalType receivedAt = columns.type(receivedAtIndex);
        if (receivedAt.isNullable()) {
            throw new ValidationException("Disposition: column _received_at must be NOT NULL; take it from the metadata"
                    + " column `timestamp` of Kafka.");
        }
        receivedAtPrecision = LogicalTypeChecks.getPrecision(receivedAt);
        int[] content = IntStream.range(0, columns.count())
                .filter(i -> !columns.name(i).startsWith("_") && !columns.isPartitionKey(i) && i != instantIndex)
                .toArray();
        LogicalType[] types = IntStream.of(content).mapToObj(columns::type).toArray(LogicalType[]::new);
        for (int i = 0; i < content.length; i++) {
            ContentHash.check(columns.name(content[i]), types[i]);
        }
        contentHash = new ContentHash(content, types);
        inputType = columns.tableType();
    }

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        String instant = call.getArgumentValue(INSTANT_ARGUMENT, String.class)
                .orElseThrow(() -> new ValidationException("Disposition: instant must be a literal, the name of a column"
                        + " or nothing; write CAST('observed_at' AS STRING)."));
        return new Disposition(instant, TableColumns.of("Disposition", call));
    }

    /** Written out, since annotations know neither a table of internal rows nor a time to live that follows the call. */
    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put("seen", new KeptForHorizon(TypeStrategies.explicit(
                MapView.newMapViewDataType(DataTypes.BIGINT().notNull(), DataTypes.BYTES().notNull()))));
        return TypeInference.newBuilder()
                .staticArguments(
                        TableColumns.argument(inputType, StaticArgumentTrait.PASS_COLUMNS_THROUGH),
                        StaticArgument.scalar("instant", DataTypes.STRING().notNull(), false),
                        StaticArgument.scalar("horizon_ms", DataTypes.BIGINT().notNull(), false))
                .stateTypeStrategies(states)
                .outputTypeStrategy(TypeStrategies.explicit(
                        DataTypes.ROW(DataTypes.FIELD("disposition", DataTypes.STRING().notNull()))
                                .bridgedTo(RowData.class)))
                .build();
    }

    /**
     * Called by Flink for every row; the arguments are those of {@link #getTypeInference}. A map, since Flink reads, converts
     * and compares any other state for every row.
     */
    public void eval(MapView<Long, byte[]> seen, RowData input, String instant, Long horizonMillis) throws Exception {
        long instantMicros = instantMicros(input);
        Long key = TOGETHER;
        DispositionLogic.Memory memory = new DispositionLogic.Memory(seen.get(key));
        if (memory.isCrowded() && !memory.knows(instantMicros)) {
            key = instantMicros;
            memory = new DispositionLogic.Memory(seen.get(key));
        }
        byte[] before = memory.readings;
        DispositionLogic.Disposition decision = DispositionLogic.decide(
                memory,
                instantMicros,
                input.isNullAt(revisionIndex) ? 0 : input.getInt(revisionIndex),
                contentHash.of(input),
                input.getTimestamp(receivedAtIndex, receivedAtPrecision).getMillisecond(),
                !input.isNullAt(lateIndex) && input.getBoolean(lateIndex),
                horizonMillis);
        if (memory.readings != before) {
            seen.put(key, memory.readings);
        }
        collect(output(decision));
    }

    private long instantMicros(RowData input) {
        if (instantIndex < 0) {
            return 0;
        }
        TimestampData instant = input.getTimestamp(instantIndex, instantPrecision);
        return instant.getMillisecond() * 1000 + instant.getNanoOfMillisecond() / 1000;
    }

    private RowData output(DispositionLogic.Disposition decision) {
        if (outputs == null) {
            outputs = new EnumMap<>(DispositionLogic.Disposition.class);
            for (DispositionLogic.Disposition each : DispositionLogic.Disposition.values()) {
                outputs.put(each, GenericRowData.of(StringData.fromString(each.text())));
            }
        }
        return outputs.get(decision);
    }

    /** The state's type, with a time to live that follows from the call's own horizon. */
    private record KeptForHorizon(TypeStrategy type) implements StateTypeStrategy {

        @Override
        public Optional<DataType> inferType(CallContext call) {
            return type.inferType(call);
        }

        @Override
        public Optional<Duration> getTimeToLive(CallContext call) {
            long horizonMillis = call.getArgumentValue(HORIZON_ARGUMENT, Long.class)
                    .filter(value -> value > 0)
                    .orElseThrow(() -> new ValidationException("Disposition: horizon_ms must be a literal above 0 of type"
                            + " BIGINT; write CAST(86400000 AS BIGINT)."));
            return Optional.of(Duration.ofMillis(2 * horizonMillis).plusDays(1));
        }
    }
}
