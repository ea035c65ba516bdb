package vn.hue.lake.flink;

import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.TableSemantics;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;

/** The columns of the table that a process table function is called with, found by name when the job is planned. */
final class TableColumns {

    private final String function;
    private final DataType tableType;
    private final RowType rowType;
    private final int[] partitionBy;

    private TableColumns(String function, DataType tableType, int[] partitionBy) {
        this.function = function;
        this.tableType = tableType;
        this.rowType = (RowType) tableType.getLogicalType();
        this.partitionBy = partitionBy;
    }

    /** Reads the table passed as the call's first argument. */
    static TableColumns of(String function, CallContext call) {
        TableSemantics table = call.getTableSemantics(0)
                .orElseThrow(() -> new ValidationException(function + ": the argument `input` must be a table."));
        return new TableColumns(function, table.dataType(), table.partitionByColumns());
    }

    /** Returns the position of a column whose type is one of {@code roots}. */
    int require(String name, LogicalTypeRoot... roots) {
        int index = rowType.getFieldIndex(name);
        if (index < 0) {
            throw new ValidationException(
                    function + ": the input has no column " + name + "; it has " + rowType.getFieldNames() + ".");
        }
        LogicalType type = rowType.getTypeAt(index);
        if (!List.of(roots).contains(type.getTypeRoot())) {
            throw new ValidationException(function + ": column " + name + " has type " + type + "; expected "
                    + Arrays.toString(roots) + ".");
        }
        return index;
    }

    /** Returns the precision of a decimal column that fits a long and has exactly this many decimals. */
    int decimalPrecision(int index, int scale) {
        DecimalType type = (DecimalType) type(index);
        if (type.getScale() != scale || type.getPrecision() > 18) {
            throw new ValidationException(function + ": column " + name(index) + " has type " + type
                    + "; declare it with a scale of " + scale + " and a precision up to 18.");
        }
        return type.getPrecision();
    }

    /**
     * The table argument, one partition of rows at a time, that reads Flink's internal rows.
     *
     * <p>Flink 2.3 ignores the class that an untyped table argument asks for and hands out rows of Java objects, which
     * cost more than the function itself. Only a typed argument gets internal ones, so that the specialised function
     * declares the type of the very table that it is called with ({@code null} before that).
     */
    static StaticArgument argument(DataType tableType, StaticArgumentTrait... traits) {
        return argument(tableType, EnumSet.of(StaticArgumentTrait.SET_SEMANTIC_TABLE, traits));
    }

    /** The table argument of a function that looks at each row alone; otherwise like {@link #argument}. */
    static StaticArgument rows(DataType tableType, StaticArgumentTrait... traits) {
        return argument(tableType, EnumSet.of(StaticArgumentTrait.ROW_SEMANTIC_TABLE, traits));
    }

    private static StaticArgument argument(DataType tableType, EnumSet<StaticArgumentTrait> traits) {
        return tableType == null
                ? StaticArgument.table("input", RowData.class, false, traits)
                : StaticArgument.table("input", tableType.bridgedTo(RowData.class), false, traits);
    }

    DataType tableType() {
        return tableType;
    }

    LogicalType type(int index) {
        return rowType.getTypeAt(index);
    }

    String name(int index) {
        return rowType.getFieldNames().get(index);
    }

    int count() {
        return rowType.getFieldCount();
    }

    boolean isPartitionKey(int index) {
        return Arrays.stream(partitionBy).anyMatch(key -> key == index);
    }
}
