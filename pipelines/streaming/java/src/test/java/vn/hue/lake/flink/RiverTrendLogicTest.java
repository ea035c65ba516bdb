package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RiverTrendLogicTest {

    private static final String LEVELS = "71520|1|1.0|2020-03-20T00:00:00Z|;71520|2|2.0|2020-03-20T00:00:00Z|;"
            + "71520|3|3.5|2020-03-20T00:00:00Z|;71520|4|5.81|2020-03-20T00:00:00Z|";
    private static final long MINUTE = 60_000L;
    private static final long DAY = 24 * 60 * MINUTE;
    private static final long START = Instant.parse("2025-10-27T00:00:00Z").toEpochMilli();
    private static final int REPLAY = Origins.code("replay");

    private final RiverTrendLogic logic = new RiverTrendLogic(AlarmLevels.parse(LEVELS), DAY);
    private final RiverTrendLogic.State state = new RiverTrendLogic.State();

    private record Reading(int minute, long millimetres, int origin) {}

    private List<RiverTrendLogic.Row> feed(int minute, long millimetres) {
        return feed(state, new Reading(minute, millimetres, REPLAY));
    }

    private List<RiverTrendLogic.Row> feed(RiverTrendLogic.State into, Reading reading) {
        long at = START + reading.minute * MINUTE;
        return logic.evaluate(into, "71520", at, reading.millimetres, at + 5000, reading.origin);
    }

    private RiverTrendLogic.Row last(int minute, long millimetres) {
        List<RiverTrendLogic.Row> rows = feed(minute, millimetres);
        assertEquals(1, rows.size());
        return rows.get(0);
    }

    @Test
    void aSteadyRiseIsItsOwnRateInEveryWindow() {
        RiverTrendLogic.Row row = null;
        for (int minute = 0; minute <= 360; minute += 10) {
            row = last(minute, 1000 + minute * 2);
        }
        assertArrayEquals(new double[] {120, 120, 120}, row.risePerHour(), 1e-9);
        assertEquals(1, row.level());
        assertEquals(2, row.nextLevel());
        assertEquals(2000L, row.nextThreshold());
        assertEquals(140, row.minutesToNext(), "280 mm at 2 mm a minute");
    }

    @Test
    void oneWrongReadingHardlyMovesTheRate() {
        RiverTrendLogic.Row row = null;
        for (int minute = 0; minute <= 60; minute += 10) {
            row = last(minute, minute == 30 ? 9000 : 1000 + minute);
        }
        assertEquals(60, row.risePerHour()[0], 1e-9);
    }

    @Test
    void tooFewReadingsOrTooShortASpanSayNothing() {
        assertTrue(Double.isNaN(last(0, 1000).risePerHour()[0]));
        assertTrue(Double.isNaN(last(10, 1010).risePerHour()[0]));
        assertTrue(Double.isNaN(last(20, 1020).risePerHour()[0]), "20 minutes are less than half an hour");
        RiverTrendLogic.Row row = last(30, 1030);
        assertEquals(60, row.risePerHour()[0], 1e-9);
        assertTrue(Double.isNaN(row.risePerHour()[1]));
    }

    @Test
    void aFallingOrSlowRiverReachesNothing() {
        for (int minute = 0; minute <= 60; minute += 10) {
            feed(minute, 1500 - minute);
        }
        RiverTrendLogic.Row falling = last(70, 1430);
        assertEquals(2, falling.nextLevel());
        assertNull(falling.minutesToNext());
        for (int minute = 80; minute <= 140; minute += 10) {
            feed(minute, 1430 + (minute - 70) / 10);
        }
        assertNull(last(150, 1438).minutesToNext(), "6 mm an hour take longer than a day");
    }

    @Test
    void aboveTheRecordThereIsNoNextLevel() {
        RiverTrendLogic.Row row = last(0, 5810);
        assertEquals(4, row.level());
        assertNull(row.nextLevel());
        assertNull(row.minutesToNext());
    }

    @Test
    void aRefusedReadingHasARowWithoutAStageAndNoPartInTheRate() {
        for (int minute = 0; minute < 60; minute += 10) {
            feed(minute, 1000 + minute);
        }
        RiverTrendLogic.Row row = last(60, Series.MISSING);
        assertEquals(Series.MISSING, row.stageMillimetres());
        assertEquals(60, row.risePerHour()[0], 1e-9);
        assertNull(row.level());
        assertNull(row.minutesToNext());
    }

    @Test
    void aLateReadingMakesTheRowsAnewInWhoseWindowsItLies() {
        for (int minute = 0; minute <= 480; minute += 10) {
            if (minute != 60) {
                feed(minute, 1000 + minute);
            }
        }
        List<RiverTrendLogic.Row> rows = feed(60, 1060);
        assertEquals(37, rows.size(), "its own, and those of six hours");
        assertEquals(START + 60 * MINUTE, rows.get(0).observedAtMillis());
        assertEquals(START + 420 * MINUTE, rows.get(36).observedAtMillis());
        assertTrue(feed(60, 1060).isEmpty(), "the same again changes nothing");
    }

    @Test
    void aReadingOlderThanADayChangesNothing() {
        feed(0, 1000);
        feed(1440, 1000);
        assertEquals(1, feed(10, 1010).size());
        feed(1450, 1000);
        assertTrue(feed(9, 1010).isEmpty());
    }

    @Test
    void theRateOfKimLongOnTheTwentySeventhIsThatOfTheBulletins() {
        // 07:00 = 3.58 m, 20:00 = 5.05 m: 1.47 m in 13 h.
        Series series = new Series(null, 1);
        for (int minute = 0; minute <= 780; minute += 10) {
            series.put(minute * MINUTE, 0, 0, REPLAY, Math.round(3580 + 1470 * minute / 780.0));
        }
        assertEquals(113, TheilSen.perHour(series, 0, series.size(), 0, 780 * MINUTE), 0.5);
    }

    @Test
    void aManyReadingsAreThinnedAndTheRateStays() {
        Series series = new Series(null, 1);
        for (int i = 0; i < 1000; i++) {
            series.put(i * 1000L, 0, 0, REPLAY, i);
        }
        assertEquals(3600, TheilSen.perHour(series, 0, 1000, 0, 1_000_000L), 1e-6);
    }

    /** Whatever the order, the repetitions and the corrections on the way: the last row of each moment is the same. */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void anyOrderOfArrivalEndsWithTheSameRows(long seed) {
        Random chance = new Random(seed);
        List<Reading> readings = new ArrayList<>();
        for (int minute = 0; minute < 1200; minute += 10) {
            long stage = chance.nextInt(10) == 0 ? Series.MISSING : 1000 + chance.nextInt(3000);
            readings.add(new Reading(minute, stage, Origins.code(chance.nextBoolean() ? "replay" : "synthetic")));
        }
        Map<Long, String> ordered = replay(readings);
        List<Reading> shuffled = new ArrayList<>(readings);
        shuffled.addAll(readings.subList(0, 40));
        Collections.shuffle(shuffled, chance);
        assertEquals(ordered, replay(shuffled));
        assertEquals(readings.size(), ordered.size());
    }

    private Map<Long, String> replay(List<Reading> readings) {
        RiverTrendLogic.State fresh = new RiverTrendLogic.State();
        Map<Long, String> rows = new TreeMap<>();
        for (Reading reading : readings) {
            for (RiverTrendLogic.Row row : feed(fresh, reading)) {
                rows.put(row.observedAtMillis(), text(row));
            }
        }
        return rows;
    }

    private static String text(RiverTrendLogic.Row row) {
        return row.stageMillimetres() + " " + java.util.Arrays.toString(row.risePerHour()) + " " + row.level() + " "
                + row.minutesToNext() + " " + row.origin() + " " + row.receivedAtMillis();
    }
}
