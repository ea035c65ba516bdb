package vn.hue.lake.flink;

import java.time.Duration;
import java.util.LinkedHashMap;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
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
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Adds the results of the stateful QARTOD tests to every row of a table, evaluated on arrival.
 *
 * <pre>{@code
 * SELECT * FROM QualityTests(
 *     input => TABLE flagged PARTITION BY station_id, tests => CAST('{…}' AS STRING),
 *     on_time => DESCRIPTOR(_rowtime), uid => 'river_stage_quality')
 * }</pre>
 *
 * <p>The table is partitioned by entity and has, beside the event time and the tested fields that the tests name,
 * {@code _revision INT} (NULL is 0), {@code _qc_flag INT} and {@code _qc_detail STRING}: what the stateless tests said. All
 * columns pass through; {@code _tested_flag} and {@code _tested_detail} follow, which stand for all tests together, and, with
 * {@code on_time}, {@code rowtime}. Rules: {@link QualityTestsLogic}; their text: {@link QualityRules}.
 *
 * <p>State: the readings of an entity that a later one may be compared with, a few kilobytes, never removed: with a time
 * to live by the wall clock, a gap after a long silence would be found by a rebuilt job only.
 */
public final class QualityTests extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;
    private static final int TESTS_ARGUMENT = 1;
    /** The digits after the point with which a floating number is compared. */
    private static final int DOUBLE_SCALE = 6;
    private static final String GROSS_RANGE_FAILED = ".gross_range=" + QualityTestsLogic.FAIL;
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("_tested_flag", DataTypes.INT().notNull()), DataTypes.FIELD("_tested_detail", DataTypes.STRING()));

    private final QualityRules rules;
    private final int entity;
    private final int eventTime;
    private final int eventTimePrecision;
    private final int revision;
    private final int flag;
    private final int detail;
    private final int[] fields;
    private final LogicalType[] types;
    private final String[] failedMarks;
    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;
    private transient QualityTestsLogic logic;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public QualityTests() {
        rules = null;
        entity = eventTime = eventTimePrecision = revision = flag = detail = -1;
        fields = new int[0];
        types = new LogicalType[0];
        failedMarks = new String[0];
        inputType = null;
    }

    private QualityTests(QualityRules rules, TableColumns columns) {
        this.rules = rules;
        eventTime = columns.require(rules.eventTime(), LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE);
        eventTimePrecision = LogicalTypeChecks.getPrecision(columns.type(eventTime));
        entity = rules.entity() == null
                ? -1
                : columns.require(rules.entity(), LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
        revision = columns.require("_revision", LogicalTypeRoot.INTEGER);
        flag = columns.require("_qc_flag", LogicalTypeRoot.INTEGER);
        detail = columns.require("_qc_detail", LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR);
        fields = rules.fields().stream().mapToInt(field -> number(columns, field.name())).toArray();
        types = new LogicalType[fields.length];
        failedMarks = new String[fields.length];
        for (int f = 0; f < fields.length; f++) {
            types[f] = columns.type(fields[f]);
            failedMarks[f] = rules.fields().get(f).name() + GROSS_RANGE_FAILED;
        }
        inputType = columns.tableType();
    }

    private static int number(TableColumns columns, String field) {
        return columns.require(
                field, LogicalTypeRoot.DECIMAL, LogicalTypeRoot.INTEGER, LogicalTypeRoot.BIGINT, LogicalTypeRoot.DOUBLE);
    }

    /** Finds the columns and parses the tests when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        String tests = call.getArgumentValue(TESTS_ARGUMENT, String.class)
                .orElseThrow(() -> new ValidationException("QualityTests: the argument tests must be a literal; write"
                        + " CAST('{…}' AS STRING)."));
        TableColumns columns = TableColumns.of("QualityTests", call);
        try {
            QualityRules parsed = QualityRules.parse(tests, field -> scale(columns.type(number(columns, field))));
            return new QualityTests(parsed, columns);
        } catch (IllegalArgumentException e) {
            throw new ValidationException("QualityTests: " + e.getMessage(), e);
        }
    }

    private static int scale(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case DECIMAL -> ((DecimalType) type).getScale();
            case DOUBLE -> DOUBLE_SCALE;
            default -> 0;
        };
    }

    /** Written out, since annotations know no table of internal rows. */
    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put(
                "remembered",
                StateTypeStrategy.of(
                        TypeStrategies.explicit(DataTypes.of(QualityTestsLogic.State.class).toDataType(typeFactory)),
                        Duration.ZERO));
        return TypeInference.newBuilder()
                .staticArguments(
                        TableColumns.argument(inputType, StaticArgumentTrait.PASS_COLUMNS_THROUGH),
                        StaticArgument.scalar("tests", DataTypes.STRING().notNull(), false))
                .stateTypeStrategies(states)
                .outputTypeStrategy(TypeStrategies.explicit(OUTPUT.bridgedTo(RowData.class)))
                .build();
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(QualityTestsLogic.State remembered, RowData row, String tests) {
        if (logic == null) {
            logic = new QualityTestsLogic(rules);
        }
        QualityTestsLogic.Result result = logic.evaluate(remembered, reading(row));
        collect(GenericRowData.of(
                result.flag(), result.detail() == null ? null : StringData.fromString(result.detail())));
    }

    private QualityTestsLogic.Reading reading(RowData row) {
        String said = row.isNullAt(detail) ? null : row.getString(detail).toString();
        long[] values = new long[fields.length];
        byte[] marks = new byte[fields.length];
        for (int f = 0; f < fields.length; f++) {
            if (row.isNullAt(fields[f])) {
                marks[f] = ReadingHistory.ABSENT | ReadingHistory.UNUSABLE;
                continue;
            }
            values[f] = value(row, fields[f], types[f]);
            if (said != null && failed(said, failedMarks[f])) {
                marks[f] = ReadingHistory.UNUSABLE;
            }
        }
        return new QualityTestsLogic.Reading(
                entity < 0 || row.isNullAt(entity) ? null : row.getString(entity).toString(),
                row.getTimestamp(eventTime, eventTimePrecision).getMillisecond(),
                row.isNullAt(revision) ? 0 : row.getInt(revision),
                values,
                marks,
                row.getInt(flag),
                said);
    }

    /** Whether one of the results, separated by {@code ;}, is this one. */
    private static boolean failed(String said, String mark) {
        int at = said.indexOf(mark);
        return at == 0 || at > 0 && (said.charAt(at - 1) == ';' || failed(said.substring(at + 1), mark));
    }

    /** The value in units of its last digit. */
    private static long value(RowData row, int index, LogicalType type) {
        return switch (type.getTypeRoot()) {
            case DECIMAL -> {
                DecimalType decimal = (DecimalType) type;
                yield row.getDecimal(index, decimal.getPrecision(), decimal.getScale()).toUnscaledLong();
            }
            case INTEGER -> row.getInt(index);
            case BIGINT -> row.getLong(index);
            case DOUBLE -> Math.round(row.getDouble(index) * Math.pow(10, DOUBLE_SCALE));
            default -> throw new IllegalStateException("Unchecked type " + type);
        };
    }
}
