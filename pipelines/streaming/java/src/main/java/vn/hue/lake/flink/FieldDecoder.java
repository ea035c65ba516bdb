package vn.hue.lake.flink;

import java.io.IOException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;

/** Decodes the value at the parser's current token into Flink's internal structure for a column type. */
@FunctionalInterface
interface FieldDecoder {

    /** Why a value does not fit its column; returned in the value's place, since exceptions are slow. */
    enum Fault {
        TYPE("type:"),
        OVERFLOW("overflow:");

        private final String prefix;

        Fault(String prefix) {
            this.prefix = prefix;
        }

        String prefix() {
            return prefix;
        }
    }

    /**
     * Returns the value or a {@link Fault}. The token is never null's, and the parser is left on it.
     *
     * @throws IOException if the text itself is no JSON
     */
    Object decode(JsonParser parser) throws IOException;
}
