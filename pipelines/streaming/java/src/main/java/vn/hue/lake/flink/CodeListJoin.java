package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
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
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.utils.LogicalTypeChecks;

/**
 * Joins every row with the rows of a code list that have its key and hold at its time; a left join without state.
 *
 * <pre>{@code
 * SELECT * FROM CodeListJoin(
 *     input => TABLE lanes,
 *     list => 'detector_id:key|free_flow_speed_kmh:number;HUE-D01|60',
 *     valid_at => 'window_start', uid => 'lanes_free_flow')
 * }</pre>
 *
 * <p>All columns pass through; the list's values follow, NULL where no row of the list fits. Columns of the input that are
 * keys of the list are INT or STRING; the column that {@code valid_at} names is a timestamp. Form of the list:
 * {@link CodeListRows}.
 */
public final class CodeListJoin extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;
    private static final int LIST_ARGUMENT = 1;
    private static final int AT_ARGUMENT = 2;

    private final CodeListRows list;
    private final int[] keys;
    private final boolean[] isInteger;
    private final int at;
    private final int atPrecision;
    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;
    private transient RowData nothing;

    /** For CREATE FUNCTION; the planner then calls {@link #specialize}. */
    public CodeListJoin() {
        list = null;
        keys = null;
        isInteger = null;
        at = -1;
        atPrecision = -1;
        inputType = null;
    }

    private CodeListJoin(CodeListRows list, String validAt, TableColumns columns) {
        this.list = list;
        List<String> names = list.keys();
        keys = new int[names.size()];
        isInteger = new boolean[names.size()];
        for (int i = 0; i < keys.length; i++) {
            keys[i] = columns.require(
                    names.get(i), LogicalTypeRoot.VARCHAR, LogicalTypeRoot.CHAR, LogicalTypeRoot.INTEGER);
            isInteger[i] = columns.type(keys[i]).getTypeRoot() == LogicalTypeRoot.INTEGER;
        }
        at = columns.require(
                validAt, LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE, LogicalTypeRoot.TIMESTAMP_WITHOUT_TIME_ZONE);
        atPrecision = LogicalTypeChecks.getPrecision(columns.type(at));
        inputType = columns.tableType();
    }

    /** Finds the columns and parses the list when the job is planned, so that a mistake ends there. */
    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        return new CodeListJoin(
                parsed(call), literal(call, AT_ARGUMENT, "valid_at"), TableColumns.of("CodeListJoin", call));
    }

    private static CodeListRows parsed(CallContext call) {
        try {
            return CodeListRows.parse(literal(call, LIST_ARGUMENT, "list"));
        } catch (IllegalArgumentException e) {
            throw new ValidationException("CodeListJoin: " + e.getMessage(), e);
        }
    }

    private static String literal(CallContext call, int position, String name) {
        return call.getArgumentValue(position, String.class)
                .orElseThrow(() -> new ValidationException(
                        "CodeListJoin: the argument " + name + " must be a plain literal '…'."));
    }

    /** Written out, since annotations know neither a table of internal rows nor an output that follows the call. */
    @Override
    public TypeInference getTypeInference(DataTypeFactory typeFactory) {
        return TypeInference.newBuilder()
                .staticArguments(
                        TableColumns.rows(inputType, StaticArgumentTrait.PASS_COLUMNS_THROUGH),
                        StaticArgument.scalar("list", DataTypes.STRING().notNull(), false),
                        StaticArgument.scalar("valid_at", DataTypes.STRING().notNull(), false))
                .stateTypeStrategies(new LinkedHashMap<>())
                .outputTypeStrategy(call -> Optional.of(output(parsed(call))))
                .build();
    }

    private static DataType output(CodeListRows list) {
        DataTypes.Field[] fields = list.values().stream()
                .map(each -> DataTypes.FIELD(
                        each.name(), each.kind() == CodeListRows.Kind.TEXT ? DataTypes.STRING() : DataTypes.DOUBLE()))
                .toArray(DataTypes.Field[]::new);
        return DataTypes.ROW(fields).bridgedTo(RowData.class);
    }

    /** Called by Flink for every row; the arguments are those of {@link #getTypeInference}. */
    public void eval(RowData row, String unusedList, String unusedAt) {
        List<Object[]> found = matches(row);
        for (Object[] values : found) {
            GenericRowData joined = new GenericRowData(values.length);
            for (int i = 0; i < values.length; i++) {
                joined.setField(i, values[i] instanceof String text ? StringData.fromString(text) : values[i]);
            }
            collect(joined);
        }
        if (found.isEmpty()) {
            if (nothing == null) {
                nothing = new GenericRowData(list.values().size());
            }
            collect(nothing);
        }
    }

    private List<Object[]> matches(RowData row) {
        if (row.isNullAt(at)) {
            return List.of();
        }
        List<String> key = new ArrayList<>(keys.length);
        for (int i = 0; i < keys.length; i++) {
            if (row.isNullAt(keys[i])) {
                return List.of();
            }
            key.add(isInteger[i]
                    ? Integer.toString(row.getInt(keys[i]))
                    : row.getString(keys[i]).toString());
        }
        return list.at(key, row.getTimestamp(at, atPrecision).getMillisecond());
    }
}
