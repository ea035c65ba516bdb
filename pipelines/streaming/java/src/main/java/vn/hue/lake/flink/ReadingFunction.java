package vn.hue.lake.flink;

import java.time.Duration;
import java.util.LinkedHashMap;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.StateTypeStrategy;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;

/**
 * What the functions over the readings of one entity share: internal rows in, internal rows out, one state per entity.
 *
 * <p>Their state holds the readings of a day and a window, so it is bounded by itself and never removed by the clock.
 */
abstract class ReadingFunction extends ProcessTableFunction<RowData> implements SpecializedFunction {

    private static final long serialVersionUID = 1L;

    /** The type of levels, rates, flows and volumes in the contracts. */
    static final DataType DECIMAL = DataTypes.DECIMAL(9, 3);

    static final DataType INSTANT = DataTypes.TIMESTAMP_LTZ(3);

    private static final int PRECISION = 9;
    /** The decimals of {@link #DECIMAL}. */
    static final int SCALE = 3;

    /** Known to the specialised function, and only asked for while the job is planned. */
    private final transient DataType inputType;

    ReadingFunction(DataType inputType) {
        this.inputType = inputType;
    }

    /** The type inference, written out, since annotations know no table of internal rows. */
    final TypeInference inference(
            DataTypeFactory typeFactory, Class<?> state, DataType output, StaticArgument... scalars) {
        StaticArgument[] arguments = new StaticArgument[scalars.length + 1];
        arguments[0] = TableColumns.argument(inputType);
        System.arraycopy(scalars, 0, arguments, 1, scalars.length);
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put(
                "state",
                StateTypeStrategy.of(
                        TypeStrategies.explicit(DataTypes.of(state).toDataType(typeFactory)), Duration.ZERO));
        return TypeInference.newBuilder()
                .staticArguments(arguments)
                .stateTypeStrategies(states)
                .outputTypeStrategy(TypeStrategies.explicit(output.bridgedTo(RowData.class)))
                .build();
    }

    static StaticArgument text(String name) {
        return StaticArgument.scalar(name, DataTypes.STRING().notNull(), false);
    }

    static StaticArgument millis(String name) {
        return StaticArgument.scalar(name, DataTypes.BIGINT().notNull(), false);
    }

    /** A number of thousandths as the contracts' decimal; NULL where it is not known. */
    static Object exact(Long unscaled) {
        return unscaled == null ? null : ReadingColumns.decimal(unscaled, PRECISION, SCALE);
    }

    /** A computed number of thousandths, rounded; NULL for NaN. */
    static Object rounded(double unscaled) {
        return Double.isNaN(unscaled) ? null : exact((long) Math.rint(unscaled));
    }
}
