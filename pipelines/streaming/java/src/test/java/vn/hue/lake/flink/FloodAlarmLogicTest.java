package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FloodAlarmLogicTest {

    private static final String LEVELS = "71520|2|2.0|2020-03-20T00:00:00Z|;71520|1|1.0|2020-03-20T00:00:00+07:00|;"
            + "71520|3|3.3|2015-01-01T00:00:00Z|2020-03-20T00:00:00Z;71520|3|3.5|2020-03-20T00:00:00Z|";
    private static final long MINUTE = 60_000L;
    private static final long START = Instant.parse("2025-10-26T00:00:00Z").toEpochMilli();

    private final FloodAlarmLogic logic = new FloodAlarmLogic(AlarmLevels.parse(LEVELS), 100, 30 * MINUTE);
    private final FloodAlarmLogic.State state = new FloodAlarmLogic.State();
    private final List<String> seen = new ArrayList<>();

    /** Feeds a reading and notes its transitions as "kind level". */
    private List<FloodAlarmLogic.Transition> feed(int minute, double metres, Integer qcFlag) {
        List<FloodAlarmLogic.Transition> transitions = logic.evaluate(
                state,
                new FloodAlarmLogic.Reading(
                        "71520", START + minute * MINUTE, Math.round(metres * 1000), qcFlag, 0, (long) minute));
        transitions.forEach(each -> seen.add(minute + " " + each.kind().text() + " " + each.level()));
        return transitions;
    }

    private List<FloodAlarmLogic.Transition> feed(int minute, double metres) {
        return feed(minute, metres, 1);
    }

    @Test
    void raisesAtOnceAndEveryLevelThatIsPassed() {
        feed(0, 0.999);
        feed(10, 2.0);
        feed(20, 3.499);
        feed(30, 3.5);
        assertEquals(List.of("10 raise 1", "10 raise 2", "30 raise 3"), seen);
    }

    @Test
    void theRaiseSaysWhatAndWhen() {
        FloodAlarmLogic.Transition raise = feed(10, 1.2).get(0);
        assertEquals("bd1|71520|2025-10-26T00:10:00Z", raise.alertId());
        assertEquals(START + 10 * MINUTE, raise.atMillis());
        assertEquals(START + 10 * MINUTE, raise.raisedAtMillis());
        assertEquals(1000, raise.thresholdMillimetres());
        assertNull(raise.peakMillimetres());
    }

    @Test
    void clearsAfterTheHoldByEventTime() {
        feed(0, 1.5);
        feed(10, 0.9); // Equal to threshold less hysteresis: not below.
        feed(20, 0.89);
        feed(30, 0.5);
        feed(49, 0.5);
        assertEquals(List.of("0 raise 1"), seen);
        FloodAlarmLogic.Transition clear = feed(50, 0.6).get(0);
        assertEquals(FloodAlarmLogic.Kind.CLEAR, clear.kind());
        assertEquals("bd1|71520|2025-10-26T00:00:00Z", clear.alertId());
        assertEquals(START + 50 * MINUTE, clear.atMillis());
        assertEquals(1500, clear.peakMillimetres());
        assertEquals(0, state.active.length);
    }

    @Test
    void aReadingInTheBandStartsTheHoldAnew() {
        feed(0, 1.5);
        feed(10, 0.8);
        feed(30, 0.95);
        feed(41, 0.8);
        feed(60, 0.8);
        assertEquals(List.of("0 raise 1"), seen);
        feed(71, 0.8);
        assertEquals(List.of("0 raise 1", "71 clear 1"), seen);
    }

    @Test
    void silenceClearsNothingAndOneReadingAfterItStartsTheHold() {
        feed(0, 1.5);
        feed(600, 0.2);
        assertEquals(List.of("0 raise 1"), seen);
        feed(1200, 0.2);
        assertEquals(List.of("0 raise 1", "1200 clear 1"), seen);
    }

    @Test
    void anOlderReadingIsReportedAndChangesNothing() {
        feed(0, 1.5);
        feed(20, 0.5);
        FloodAlarmLogic.Transition ignored = feed(10, 4.0).get(0);
        assertEquals("ignored|71520|0|10", ignored.alertId());
        assertNull(ignored.level());
        assertNull(ignored.thresholdMillimetres());
        assertEquals(START + 10 * MINUTE, ignored.atMillis());
        feed(50, 0.5);
        assertEquals(List.of("0 raise 1", "10 ignored_older null", "50 clear 1"), seen);
    }

    @Test
    void aCorrectionOfTheNewestIsEvaluated() {
        feed(0, 0.5);
        feed(0, 1.1);
        feed(10, 0.5);
        feed(10, 1.1);
        feed(40, 0.5);
        assertEquals(List.of("0 raise 1"), seen);
    }

    @Test
    void failedAndMissingReadingsChangeNothing() {
        assertTrue(feed(90, 9.0, 4).isEmpty());
        assertTrue(feed(90, 9.0, 9).isEmpty());
        assertTrue(logic.evaluate(state, new FloodAlarmLogic.Reading("71520", START, null, 1, 0, 0L)).isEmpty());
        assertNull(state.newestMillis);
        feed(0, 1.5, 3);
        feed(10, 0.5, 4);
        feed(60, 0.5, null);
        assertEquals(List.of("0 raise 1"), seen, "suspect readings count, failed ones do not start the hold");
    }

    @Test
    void theThresholdIsTheOneValidAtTheTimeOfTheReading() {
        long before = Instant.parse("2019-11-01T00:00:00Z").toEpochMilli();
        List<FloodAlarmLogic.Transition> transitions =
                logic.evaluate(state, new FloodAlarmLogic.Reading("71520", before, 3300L, 1, 0, 0L));
        assertEquals(1, transitions.size(), "levels 1 and 2 were not yet valid");
        assertEquals("bd3|71520|2019-11-01T00:00:00Z", transitions.get(0).alertId());
        assertEquals(3300, transitions.get(0).thresholdMillimetres());
    }

    /** The nights of Phú Ốc: a record that a night sets is in force from the next day on, and not on the night itself. */
    @Test
    void theRecordIsTheOneThatWasKnownBeforeTheNight() {
        FloodAlarmLogic records = new FloodAlarmLogic(
                AlarmLevels.parse("71518|4|5.24|2020-12-31T17:00:00Z|2025-10-27T17:00:00Z;"
                        + "71518|4|5.25|2025-10-27T17:00:00Z|2025-10-29T17:00:00Z;"
                        + "71518|4|5.27|2025-10-29T17:00:00Z|2025-11-03T17:00:00Z;71518|4|5.31|2025-11-03T17:00:00Z|"),
                100,
                30 * MINUTE);
        Object[][] night = {
            {"2025-10-27T06:50:00Z", 5.239}, {"2025-10-27T07:00:00Z", 5.25}, {"2025-10-27T12:00:00Z", 5.13},
            {"2025-10-27T13:00:00Z", 5.06}, {"2025-10-29T10:00:00Z", 5.249}, {"2025-10-29T11:00:00Z", 5.27},
            {"2025-10-29T15:00:00Z", 5.0}, {"2025-10-29T16:00:00Z", 5.0}, {"2025-11-03T05:00:00Z", 5.269},
            {"2025-11-03T06:00:00Z", 5.31}, {"2025-11-03T18:00:00Z", 5.30},
        };
        for (Object[] each : night) {
            long at = Instant.parse((String) each[0]).toEpochMilli();
            long stage = Math.round((Double) each[1] * 1000);
            records.evaluate(state, new FloodAlarmLogic.Reading("71518", at, stage, 1, 0, 0L))
                    .forEach(t -> seen.add(t.alertId() + " " + t.kind().text() + " " + t.thresholdMillimetres()));
        }
        assertEquals(
                List.of(
                        "record|71518|2025-10-27T07:00:00Z raise 5240",
                        "record|71518|2025-10-27T07:00:00Z clear 5240",
                        "record|71518|2025-10-29T11:00:00Z raise 5250",
                        "record|71518|2025-10-29T11:00:00Z clear 5250",
                        "record|71518|2025-11-03T06:00:00Z raise 5270"),
                seen);
    }

    @Test
    void anUnknownStationRaisesNothing() {
        assertTrue(logic.evaluate(state, new FloodAlarmLogic.Reading("x", START, 9000L, 1, 0, 0L)).isEmpty());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "71520|1|1.0|2020-03-20T00:00:00Z",
                "71520|5|1.0|2020-03-20T00:00:00Z|",
                "71520|1|high|2020-03-20T00:00:00Z|",
                "71520|1|1.0005|2020-03-20T00:00:00Z|",
                "71520|1|1.0|2020-03-20|",
                "71520|1|1.0|2020-03-20T00:00:00Z|2020-03-20T00:00:00Z",
                "|1|1.0|2020-03-20T00:00:00Z|",
                "71520|1|1.0|2020-03-20T00:00:00Z|;71520|1|1.1|2021-03-20T00:00:00Z|",
            })
    void wrongLevelsAreRefused(String levels) {
        String message = assertThrows(IllegalArgumentException.class, () -> AlarmLevels.parse(levels))
                .getMessage();
        assertTrue(message.startsWith("Wrong alarm levels, expected"), message);
    }

    @Test
    void negativeSettingsAreRefused() {
        AlarmLevels levels = AlarmLevels.parse(LEVELS);
        assertThrows(IllegalArgumentException.class, () -> new FloodAlarmLogic(levels, -1, 0));
        assertThrows(IllegalArgumentException.class, () -> new FloodAlarmLogic(levels, 0, -1));
    }
}
