package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class SeriesTest {

    private static final int REPLAY = Origins.code("replay");

    @Test
    void readingsStandInTheOrderOfTimeAndTag() {
        Series series = new Series(null, 1);
        series.put(30, 0, 1, REPLAY, 3);
        series.put(10, 1, 2, REPLAY, 2);
        series.put(10, 0, 3, REPLAY, 1);
        assertEquals(3, series.size());
        assertEquals(1, series.value(0, 0));
        assertEquals(2, series.value(1, 0));
        assertEquals(30, series.newest());
        assertEquals(2, series.indexFrom(11));
        assertEquals(3, series.indexFrom(31));
    }

    @Test
    void aRepeatedReadingChangesNothingAndACorrectionReplaces() {
        Series series = new Series(null, 1);
        assertTrue(series.put(10, 0, 100, REPLAY, 7));
        long[] before = series.cells();
        assertFalse(series.put(10, 0, 200, REPLAY, 7));
        assertEquals(before, series.cells());
        assertTrue(series.put(10, 0, 90, REPLAY, 8));
        assertNotSame(before, series.cells(), "the framework compares with what it read");
        assertEquals(7, before[before.length - 1]);
        assertEquals(1, series.size());
        assertEquals(8, series.value(0, 0));
        assertEquals(100, series.received(0), "a row never looks older than it was");
    }

    @Test
    void theNumberOfReadingsIsBounded() {
        Series series = new Series(null, 1);
        for (int i = 0; i < Series.MAX_READINGS + 5; i++) {
            series.put(i, 0, i, REPLAY, i);
        }
        assertEquals(5, series.expired(Long.MIN_VALUE));
        assertEquals(9, series.expired(9));
        series.removeFirst(9);
        assertEquals(9, series.time(0));
    }

    @Test
    void originsOfOneKindKeepTheirNameAndOthersAreMixed() {
        assertEquals("replay", Origins.text(REPLAY).toString());
        assertEquals("mixed", Origins.text(REPLAY | Origins.code("synthetic")).toString());
        assertEquals("mixed", Origins.text(Origins.code("nobody knows")).toString());
    }
}
