package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CodeListRowsTest {

    private static final String HEAD = "detector_id:key|lane_no:key|name:text|speed_kmh:number|valid_from:from|valid_to:to";
    private static final long CHANGE = Instant.parse("2025-07-01T00:00:00Z").toEpochMilli();

    private static List<Object[]> at(String rows, long millis, String... key) {
        return CodeListRows.parse(HEAD + ";" + rows).at(List.of(key), millis);
    }

    @Test
    void aRowHoldsFromItsBeginningUntilBeforeItsEnd() {
        String rows = "HUE-D01|1|Đường A|60||2025-07-01T00:00:00Z;HUE-D01|1|Đường B|50.5|2025-07-01T07:00:00+07:00|";
        assertArrayEquals(new Object[] {"Đường A", 60.0}, at(rows, CHANGE - 1, "HUE-D01", "1").get(0));
        assertArrayEquals(new Object[] {"Đường B", 50.5}, at(rows, CHANGE, "HUE-D01", "1").get(0));
        assertEquals(1, at(rows, CHANGE, "HUE-D01", "1").size());
    }

    @Test
    void anUnknownKeyHasNoRowAndAKnownOneAllOfThem() {
        String rows = "HUE-D01|1|first|1||;HUE-D01|1|second|||";
        assertTrue(at(rows, CHANGE, "HUE-D01", "2").isEmpty());
        List<Object[]> found = at(rows, CHANGE, "HUE-D01", "1");
        assertArrayEquals(new Object[] {"first", 1.0}, found.get(0));
        assertArrayEquals(new Object[] {"second", null}, found.get(1));
    }

    @Test
    void aListWithoutKeysAndValidityAlwaysHolds() {
        CodeListRows list = CodeListRows.parse("limit_pct:number;50");
        assertEquals(List.of(), list.keys());
        assertArrayEquals(new Object[] {50.0}, list.at(List.of(), CHANGE).get(0));
    }

    @Test
    void everyWrongLineIsNamed() {
        String rows = "HUE-D01|1|a|b||;HUE-D01||a|1||;HUE-D01|1|a;HUE-D01|1|a|1|2025-07-02T00:00:00Z|2025-07-01T00:00:00Z";
        String message = assertThrows(IllegalArgumentException.class, () -> at(rows, CHANGE, "x", "1"))
                .getMessage();
        for (String said : List.of(
                "speed_kmh is 'b', which is no number",
                "the key lane_no is empty",
                "3 cells instead of 6",
                "its validity ends before it begins")) {
            assertTrue(message.contains(said), message);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "limit_pct:number, no row is given",
        "limit_pct;50, is not <column>:<kind>",
        "limit_pct:number|code:key;50|a, stands behind other columns",
        "limit_pct:percent;50, PERCENT",
    })
    void aWrongHeadIsRefused(String text, String said) {
        String message = assertThrows(IllegalArgumentException.class, () -> CodeListRows.parse(text))
                .getMessage();
        assertTrue(message.contains(said), message);
    }
}
