package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ReservoirStateLogicTest {

    private static final long HOUR = 3_600_000L;
    private static final int REPLAY = Origins.code("replay");

    private final ReservoirTables tables = ReservoirTables.parse("T|normal|45;T|23|73.4;T|45|509.8;N|normal|85;E|1|2");
    private final ReservoirStateLogic logic = new ReservoirStateLogic(tables, 24 * HOUR);
    private final ReservoirStateLogic.State state = new ReservoirStateLogic.State();

    private List<ReservoirStateLogic.Row> feed(String reservoir, long hour, long level, long inflow, long outflow) {
        long[] measures = {level, inflow, outflow};
        return logic.evaluate(state, reservoir, hour * HOUR, measures, hour * HOUR + 1, REPLAY);
    }

    @Test
    void theMorningOfTheTwentySeventhAtTaTrach() {
        ReservoirStateLogic.Row row = feed("T", 0, 42_180, 6_921_000, 423_000).get(0);
        assertEquals(2_820, row.belowNormal());
        assertEquals(6_498_000, row.netInflow());
        assertEquals(453_861, row.storage(), "73.4 + 436.4 × 19.18 / 22");
        assertEquals(55_939, row.freeStorage());
        assertTrue(Double.isNaN(row.risePerHour()));
    }

    @Test
    void theRateNeedsThreeReportsOverHalfOfItsWindow() {
        feed("T", 0, 42_000, 0, 0);
        feed("T", 1, 42_100, 0, 0);
        assertEquals(100, feed("T", 2, 42_200, 0, 0).get(0).risePerHour(), 1e-9);
        List<ReservoirStateLogic.Row> rows = feed("T", 1, 42_150, 0, 0);
        assertEquals(2, rows.size(), "a correction makes the rows of three hours anew");
        assertEquals(100, rows.get(1).risePerHour(), 1e-9);
    }

    @Test
    void whatIsNotKnownStaysUnknown() {
        ReservoirStateLogic.Row above = feed("T", 0, 45_500, Series.MISSING, 1000).get(0);
        assertEquals(-500, above.belowNormal());
        assertNull(above.storage(), "nothing is extrapolated");
        assertNull(above.freeStorage());
        assertEquals(Series.MISSING, above.netInflow());
        assertNull(feed("N", 1, 80_000, 0, 0).get(0).freeStorage());
        assertEquals(Series.MISSING, feed("X", 2, 80_000, 0, 0).get(0).belowNormal());
        ReservoirStateLogic.Row refused = feed("T", 3, Series.MISSING, 5, 3).get(0);
        assertNull(refused.storage());
        assertEquals(2, refused.netInflow());
    }

    @Test
    void storageLiesOnStraightLinesBetweenThePoints() {
        assertEquals(73_400, tables.storage("T", 23_000));
        assertEquals(291_600, tables.storage("T", 34_000));
        assertNull(tables.storage("T", 22_999));
        assertEquals(2_000, tables.storage("E", 1_000));
    }

    @ParameterizedTest
    @ValueSource(strings = {"T|45", "T|normal|high", "T|normal|1;T|normal|2", "T|1|5;T|2|4", "T|1|5;T|1|6", "T|1.0005|3"})
    void wrongTablesAreRefused(String lines) {
        String message = assertThrows(IllegalArgumentException.class, () -> ReservoirTables.parse(lines))
                .getMessage();
        assertTrue(message.startsWith("Wrong reservoir tables, expected"), message);
    }
}
