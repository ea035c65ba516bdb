package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class UrbanDepthLogicTest {

    private static final long MINUTE = 60_000L;
    private static final int OBSERVED = Origins.code("observed");

    private final UrbanDepthLogic logic = new UrbanDepthLogic(20 * MINUTE, 24 * 60 * MINUTE);
    private final UrbanDepthLogic.State state = new UrbanDepthLogic.State();

    private record Reading(String site, int minute, long depth) {}

    private List<UrbanDepthLogic.Row> feed(UrbanDepthLogic.State into, Reading reading) {
        long at = reading.minute * MINUTE;
        return logic.evaluate(into, reading.site, at, reading.depth, at + 1, OBSERVED);
    }

    private UrbanDepthLogic.Row last(String site, int minute, long depth) {
        List<UrbanDepthLogic.Row> rows = feed(state, new Reading(site, minute, depth));
        return rows.get(rows.size() - 1);
    }

    @Test
    void theNewestReadingOfEachLiveSiteCounts() {
        last("a", 0, 100);
        last("b", 0, 300);
        last("a", 10, 500);
        UrbanDepthLogic.Row row = last("c", 12, 100);
        assertEquals(500, row.maxDepth());
        assertEquals("a", row.deepestSite());
        assertEquals(300.0, row.meanDepth());
        assertEquals(3, row.liveSites());
        UrbanDepthLogic.Row later = last("c", 20, 100);
        assertEquals(2, later.liveSites(), "b has been silent for 20 minutes");
        assertEquals(300.0, later.meanDepth());
    }

    @Test
    void aRefusedReadingIsNoLiveSensorEvenWhenAnOlderOneWasGood() {
        last("a", 0, 100);
        last("b", 5, 200);
        UrbanDepthLogic.Row row = last("a", 10, Series.MISSING);
        assertEquals(1, row.liveSites());
        assertEquals(200, row.maxDepth());
        UrbanDepthLogic.Row none = last("a", 40, Series.MISSING);
        assertEquals(0, none.liveSites());
        assertNull(none.maxDepth());
        assertNull(none.meanDepth());
    }

    @Test
    void aLateReadingMakesTheMomentsAnewInWhichItIsLive() {
        last("a", 0, 100);
        last("a", 10, 100);
        last("a", 30, 100);
        List<UrbanDepthLogic.Row> rows = feed(state, new Reading("b", 5, 900));
        assertEquals(2, rows.size(), "its own moment, and that of 10 minutes");
        assertEquals(900, rows.get(1).maxDepth());
        assertTrue(feed(state, new Reading("b", 5, 900)).isEmpty());
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void anyOrderOfArrivalEndsWithTheSameRows(long seed) {
        Random chance = new Random(seed);
        List<Reading> readings = new ArrayList<>();
        for (int minute = 0; minute < 1200; minute += 5) {
            for (String site : List.of("a", "b", "c")) {
                if (chance.nextInt(3) > 0) {
                    readings.add(new Reading(site, minute, chance.nextInt(9) == 0 ? Series.MISSING : chance.nextInt(40)));
                }
            }
        }
        List<Reading> shuffled = new ArrayList<>(readings);
        Collections.shuffle(shuffled, chance);
        assertEquals(replay(readings), replay(shuffled));
    }

    private Map<Long, String> replay(List<Reading> readings) {
        UrbanDepthLogic.State fresh = new UrbanDepthLogic.State();
        Map<Long, String> rows = new TreeMap<>();
        for (Reading reading : readings) {
            for (UrbanDepthLogic.Row row : feed(fresh, reading)) {
                rows.put(row.observedAtMillis(), row.toString());
            }
        }
        return rows;
    }
}
