package vn.hue.lake.flink;

import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.types.inference.CallContext;

/** Arguments that must be known when the job is planned, so that a mistake ends there and not on a flood night. */
final class Literals {

    private Literals() {}

    /** The value of an argument. */
    static <T> T of(String function, CallContext call, int position, String name, Class<T> type) {
        return call.getArgumentValue(position, type)
                .orElseThrow(() -> new ValidationException(function + ": the argument " + name
                        + " must be a literal of its own type; write CAST(… AS STRING), CAST(… AS DECIMAL(9, 3)) or CAST(… AS"
                        + " BIGINT)."));
    }

    /** A duration in milliseconds, above 0. */
    static long millis(String function, CallContext call, int position, String name) {
        long value = of(function, call, position, name, Long.class);
        if (value <= 0) {
            throw new ValidationException(function + ": " + name + " is " + value + " ms; it must be above 0.");
        }
        return value;
    }
}
