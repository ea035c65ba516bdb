package vn.hue.lake.flink;

import java.util.List;
import org.apache.flink.table.data.StringData;

/** Where readings come from, as one bit each, so that the origin of a row is that of all its readings. */
final class Origins {

    private static final List<String> NAMES = List.of("observed", "replay", "synthetic");
    private static final int ALL = (1 << NAMES.size()) - 1;

    private Origins() {}

    /** The bit of an origin; one that nobody knows says nothing, which is what mixed means. */
    static int code(String name) {
        int index = NAMES.indexOf(name);
        return index < 0 ? ALL : 1 << index;
    }

    /** The common origin of readings, {@code mixed} where they differ. */
    static StringData text(int codes) {
        int index = Integer.numberOfTrailingZeros(codes);
        return StringData.fromString(Integer.bitCount(codes) == 1 ? NAMES.get(index) : "mixed");
    }
}
