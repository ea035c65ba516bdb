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

class RainAccumulationLogicTest {

    private static final long MINUTE = 60_000L;
    private static final long HOUR = 60 * MINUTE;
    private static final long START = Instant.parse("2025-10-26T12:00:00Z").toEpochMilli();
    private static final int REPLAY = Origins.code("replay");

    private final RainAccumulationLogic logic = new RainAccumulationLogic(10 * MINUTE, 6 * HOUR, 24 * HOUR);
    private final RainAccumulationLogic.State state = new RainAccumulationLogic.State();

    private record Reading(int minute, long tenths) {}

    private List<RainAccumulationLogic.Row> feed(RainAccumulationLogic.State into, Reading reading) {
        long at = START + reading.minute * MINUTE;
        return logic.evaluate(into, at, reading.tenths, at + 5000, REPLAY);
    }

    private RainAccumulationLogic.Row feed(int minute, long tenths) {
        List<RainAccumulationLogic.Row> rows = feed(state, new Reading(minute, tenths));
        return rows.isEmpty() ? null : rows.get(rows.size() - 1);
    }

    @Test
    void aWindowHoldsThePeriodsThatEndInIt() {
        for (int minute = 10; minute < 1440; minute += 10) {
            feed(minute, minute <= 10 ? 1000 : 1);
        }
        RainAccumulationLogic.Row row = feed(1440, 1);
        assertArrayEquals(new long[] {6, 18, 36, 72, 1143}, row.sums());
        for (RainAccumulationLogic.Coverage coverage : row.coverages()) {
            assertEquals(coverage.expected(), coverage.periods());
        }
        assertEquals(143, feed(1450, 0).sums()[4], "the first period ends exactly 24 hours before");
    }

    @Test
    void theSumOfTheNightOfTheRecordIsExact() {
        // Bạch Mã: 1,739.0 mm from 19:00 on the 26th to 19:00 on the 27th of October 2025, here in equal tips and a rest.
        RainAccumulationLogic.Row row = null;
        for (int period = 1; period <= 144; period++) {
            row = feed(10 * period, 17390L * period / 144 - 17390L * (period - 1) / 144);
        }
        assertEquals(17390, row.sums()[4]);
        assertEquals(17390, row.eventSum());
    }

    @Test
    void missingPeriodsLowerTheCoverageAndRefusedOnesToo() {
        for (int minute = 10; minute <= 60; minute += 10) {
            if (minute != 30) {
                feed(minute, minute == 40 ? Series.MISSING : 5);
            }
        }
        RainAccumulationLogic.Row row = feed(60, 7);
        assertEquals(22, row.sums()[0]);
        assertEquals(new RainAccumulationLogic.Coverage(4, 6), row.coverages()[0]);
        assertEquals(new RainAccumulationLogic.Coverage(4, 144), row.coverages()[4]);
    }

    @Test
    void tipsThatAreSentAgainDoNotDoubleAndACorrectionReplaces() {
        feed(10, 5);
        assertNull(feed(10, 5));
        assertEquals(5, feed(20, 0).sums()[0]);
        assertEquals(9, feed(10, 9).sums()[0]);
    }

    @Test
    void aLateReadingMakesTheRowsFromItsTimeOnAnew() {
        feed(10, 1);
        feed(30, 1);
        feed(40, 1);
        List<RainAccumulationLogic.Row> rows = feed(state, new Reading(20, 5));
        assertEquals(3, rows.size());
        assertEquals(6, rows.get(0).sums()[0]);
        assertEquals(8, rows.get(2).sums()[0]);
        assertEquals(new RainAccumulationLogic.Coverage(4, 6), rows.get(2).coverages()[0]);
    }

    @Test
    void theEventBeginsWithTheFirstWetPeriodAndEndsAfterTheDryTime() {
        assertNull(feed(10, 0).eventStartedAtMillis());
        RainAccumulationLogic.Row first = feed(20, 5);
        assertEquals(START + 10 * MINUTE, first.eventStartedAtMillis());
        assertEquals(new RainAccumulationLogic.Coverage(1, 1), first.eventCoverage());
        for (int minute = 30; minute < 380; minute += 10) {
            feed(minute, 0);
        }
        RainAccumulationLogic.Row lasting = feed(380, 0);
        assertEquals(5, lasting.eventSum(), "six hours dry and no more");
        assertEquals(new RainAccumulationLogic.Coverage(37, 37), lasting.eventCoverage());
        assertNull(feed(390, 0).eventSum());
        RainAccumulationLogic.Row second = feed(400, 3);
        assertEquals(3, second.eventSum());
        assertEquals(START + 390 * MINUTE, second.eventStartedAtMillis());
    }

    @Test
    void anEventOutlivesTheReadingsThatAreHeld() {
        RainAccumulationLogic.Row row = null;
        for (int period = 1; period <= 9 * 144; period++) {
            row = feed(10 * period, 2);
        }
        assertEquals(2 * 9 * 144, row.eventSum());
        assertEquals(new RainAccumulationLogic.Coverage(9 * 144, 9 * 144), row.eventCoverage());
        assertTrue(new Series(state.readings, 1).size() <= 289, "two days of readings are held");
    }

    @Test
    void shorterPeriodsAddUpAndCountOnce() {
        for (int minute = 1; minute < 60; minute++) {
            feed(minute, 1);
        }
        RainAccumulationLogic.Row row = feed(60, 1);
        assertEquals(60, row.sums()[0]);
        assertEquals(new RainAccumulationLogic.Coverage(6, 6), row.coverages()[0]);
    }

    /** Whatever the order within a day and the repetitions on the way: the last row of each moment is the same. */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void anyOrderOfArrivalEndsWithTheSameRows(long seed) {
        Random chance = new Random(seed);
        List<Reading> readings = new ArrayList<>();
        for (int minute = 10; minute < 4 * 1440; minute += 10) {
            if (chance.nextInt(20) > 0) {
                long tenths = chance.nextInt(4) > 0 ? 0 : chance.nextInt(30) == 0 ? Series.MISSING : chance.nextInt(50);
                readings.add(new Reading(minute, minute % 1440 > 900 ? 0 : tenths));
            }
        }
        Map<Long, String> ordered = replay(readings);
        List<Reading> shuffled = new ArrayList<>(readings);
        for (int from = 0; from + 120 < shuffled.size(); from += 120) {
            Collections.shuffle(shuffled.subList(from, from + 120), chance);
        }
        assertEquals(ordered, replay(shuffled));
        assertEquals(readings.size(), ordered.size());
    }

    private Map<Long, String> replay(List<Reading> readings) {
        RainAccumulationLogic.State fresh = new RainAccumulationLogic.State();
        Map<Long, String> rows = new TreeMap<>();
        for (Reading reading : readings) {
            for (RainAccumulationLogic.Row row : feed(fresh, reading)) {
                rows.put(
                        row.observedAtMillis(),
                        java.util.Arrays.toString(row.sums()) + java.util.Arrays.toString(row.coverages())
                                + row.eventStartedAtMillis() + " " + row.eventSum() + " " + row.eventCoverage() + " "
                                + row.receivedAtMillis());
            }
        }
        return rows;
    }
}
