package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class QualityTestsLogicTest {

    private static final long MINUTE = 60_000L;
    private static final long START = Instant.parse("2025-10-26T00:00:00Z").toEpochMilli();
    private static final String STAGE = """
            {"event_time": "observed_at", "entity": "station_id", "cadence_ms": 600000, "keep_ms": 18000000,
             "gap": {"suspect_ms": 1800000, "fail_ms": 7200000}, "fields": {"stage_m": %s}, "overrides": [%s]}""";
    private static final String SPIKE = "{\"spike\": {\"window_ms\": 3600000, \"suspect\": \"0.5\", \"fail\": \"1.5\"}}";
    private static final String RATE =
            "{\"rate_of_change\": {\"window_ms\": 3600000, \"suspect\": \"1.2\", \"fail\": \"3\"}}";
    private static final String FLAT = "{\"flat_line\": {\"tolerance\": \"0.002\", \"suspect_ms\": 3600000, \"fail_ms\":"
            + " 7200000, \"except\": [\"0\"]}}";
    private static final String ATTENUATED =
            "{\"attenuated_signal\": {\"window_ms\": 7200000, \"suspect\": \"0.05\", \"fail\": \"0.01\"}}";

    private final QualityTestsLogic.State state = new QualityTestsLogic.State();
    private QualityTestsLogic logic;

    private static QualityTestsLogic logic(String field, String... overrides) {
        String tests = STAGE.formatted(field, String.join(",", overrides));
        return new QualityTestsLogic(QualityRules.parse(tests, name -> 3));
    }

    private static QualityTestsLogic.Reading reading(int minute, Double metres, int revision) {
        byte mark = metres == null ? (byte) (ReadingHistory.ABSENT | ReadingHistory.UNUSABLE) : 0;
        return new QualityTestsLogic.Reading(
                "71520",
                START + minute * MINUTE,
                revision,
                new long[] {metres == null ? 0 : Math.round(metres * 1000)},
                new byte[] {mark},
                metres == null ? QualityTestsLogic.MISSING : QualityTestsLogic.PASS,
                metres == null ? "stage_m.gross_range=9" : null);
    }

    /** Feeds a reading and returns what is said of the field and of the gap, "flag detail". */
    private String feed(int minute, double metres) {
        QualityTestsLogic.Result result = logic.evaluate(state, reading(minute, metres, 0));
        return result.flag() + (result.detail() == null ? "" : " " + result.detail());
    }

    private void feedEvery(int fromMinute, int step, double... metres) {
        for (int i = 0; i < metres.length; i++) {
            feed(fromMinute + i * step, metres[i]);
        }
    }

    @Test
    void theFirstReadingHasNothingBeforeIt() {
        logic = logic("{\"spike\": {\"window_ms\": 3600000, \"suspect\": \"0.5\"}, \"flat_line\": {\"tolerance\": \"0\","
                + " \"suspect_ms\": 3600000}}");
        assertEquals("1 observed_at.gap=2;stage_m.spike=2;stage_m.flat_line=2", feed(0, 1.0));
    }

    @ParameterizedTest
    @CsvSource({"30, '1'", "31, '3 observed_at.gap=3'", "120, '3 observed_at.gap=3'", "121, '4 observed_at.gap=4'"})
    void aGapIsLongerThanItsLimit(int minute, String expected) {
        logic = new QualityTestsLogic(QualityRules.parse(
                "{\"event_time\": \"observed_at\", \"cadence_ms\": 600000, \"keep_ms\": 1, \"gap\": {\"suspect_ms\":"
                        + " 1800000, \"fail_ms\": 7200000}}",
                name -> 0));
        QualityTestsLogic.Reading first = new QualityTestsLogic.Reading(null, START, 0, new long[0], new byte[0], 1, null);
        QualityTestsLogic.Reading next =
                new QualityTestsLogic.Reading(null, START + minute * MINUTE, 0, new long[0], new byte[0], 1, null);
        logic.evaluate(state, first);
        QualityTestsLogic.Result result = logic.evaluate(state, next);
        assertEquals(expected, result.flag() + (result.detail() == null ? "" : " " + result.detail()));
        assertEquals("observed_at.gap=2", logic.evaluate(state, first).detail(), "older than what is kept");
    }

    @ParameterizedTest
    @CsvSource({
        "1.5, '1'", "1.501, '3 stage_m.spike=3'", "0.499, '3 stage_m.spike=3'", "2.5, '3 stage_m.spike=3'",
        "2.501, '4 stage_m.spike=4'", "-0.501, '4 stage_m.spike=4'"
    })
    void aSpikeIsFarFromTheMedianBeforeIt(double metres, String expected) {
        logic = logic(SPIKE);
        feedEvery(0, 10, 0.9, 1.0, 1.0, 1.1);
        assertEquals(expected, feed(40, metres));
    }

    @Test
    void afterASpikeTheNextReadingPasses() {
        logic = logic(SPIKE);
        feedEvery(0, 10, 1.0, 1.0, 1.01);
        assertEquals("4 stage_m.spike=4", feed(30, 9.0));
        assertEquals("1", feed(40, 1.02));
    }

    @Test
    void aNewLevelIsAcceptedWhenHalfOfTheWindowHasIt() {
        logic = logic(SPIKE);
        feedEvery(0, 10, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0);
        List<String> said = new ArrayList<>();
        for (int minute = 60; minute <= 110; minute += 10) {
            said.add(feed(minute, 3.0));
        }
        // Of six readings in the window four are new: the median has followed. With three it lies half way.
        assertEquals(
                List.of(
                        "4 stage_m.spike=4", "4 stage_m.spike=4", "4 stage_m.spike=4", "3 stage_m.spike=3", "1", "1"),
                said);
    }

    @Test
    void aFailedValueIsNoMeasureForTheNext() {
        logic = logic(SPIKE);
        feedEvery(0, 10, 1.0, 1.0);
        QualityTestsLogic.Reading failed = new QualityTestsLogic.Reading(
                "71520", START + 20 * MINUTE, 0, new long[] {99_000}, new byte[] {ReadingHistory.UNUSABLE}, 4, "stage_m.gross_range=4");
        assertEquals("stage_m.gross_range=4;stage_m.spike=2", logic.evaluate(state, failed).detail());
        assertEquals("1 stage_m.spike=2", feed(30, 1.0), "two usable values are too few");
    }

    @ParameterizedTest
    @CsvSource({"1.2, '1'", "1.201, '3 stage_m.rate_of_change=3'", "0.499, '4 stage_m.rate_of_change=4'", "1.5, '3 stage_m.rate_of_change=3'"})
    void aRateIsPerHour(double metres, String expected) {
        logic = logic(RATE);
        feedEvery(0, 10, 1.0);
        assertEquals(expected, feed(10, metres));
    }

    @Test
    void theReadingAfterAJumpIsComparedWithTheOneBeforeIt() {
        logic = logic(RATE);
        feedEvery(0, 10, 1.0, 1.05);
        assertEquals("4 stage_m.rate_of_change=4", feed(20, 4.0));
        assertEquals("1", feed(30, 1.1));
    }

    @Test
    void aStepIsNotRefusedForEver() {
        logic = logic(RATE);
        feedEvery(0, 10, 1.0);
        feedEvery(10, 10, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0);
        assertEquals("1 stage_m.rate_of_change=2", feed(70, 9.0), "nothing in the window to compare with");
        assertEquals("1", feed(80, 9.0));
    }

    @Test
    void aFlatLineCountsFromItsBeginning() {
        logic = logic(FLAT);
        feed(0, 1.5);
        assertEquals("1", feed(10, 1.0));
        feedEvery(20, 10, 1.001, 1.002, 1.0, 1.001);
        assertEquals("1", feed(60, 1.0));
        assertEquals("3 stage_m.flat_line=3", feed(70, 1.0));
        feedEvery(80, 10, 1.0, 1.0, 1.0, 1.0, 1.0);
        assertEquals("4 stage_m.flat_line=4", feed(130, 1.0));
        assertEquals("1", feed(140, 1.003), "beyond the tolerance");
    }

    @Test
    void aHoleBreaksAFlatLineAndZeroIsExcepted() {
        logic = logic(FLAT);
        feedEvery(0, 10, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0);
        assertEquals("3 observed_at.gap=3;stage_m.flat_line=2", feed(90, 1.0));
        feedEvery(100, 10, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        assertEquals("1", feed(180, 0.0));
    }

    @Test
    void anAttenuatedSignalHardlyMovesInItsWindow() {
        logic = logic(ATTENUATED);
        for (int i = 0; i < 12; i++) {
            assertTrue(feed(i * 10, 1.0 + (i % 2) * 0.1).endsWith("stage_m.attenuated_signal=2") == i < 9, "reading " + i);
        }
        for (int i = 12; i < 24; i++) {
            feed(i * 10, 1.0 + (i % 2) * 0.02);
        }
        assertEquals("3 stage_m.attenuated_signal=3", feed(240, 1.0));
        for (int i = 25; i < 37; i++) {
            feed(i * 10, 1.0 + (i % 2) * 0.005);
        }
        assertEquals("4 stage_m.attenuated_signal=4", feed(370, 1.0));
    }

    @Test
    void aLateReadingIsComparedWithThoseBeforeItAndChangesNothingThatWasSaid() {
        logic = logic(SPIKE);
        feedEvery(0, 10, 1.0, 1.0, 1.0);
        feedEvery(40, 10, 5.0, 5.0, 5.0, 5.0);
        assertEquals("1", feed(30, 1.2), "its place is before the step");
        assertEquals("1 observed_at.gap=2;stage_m.spike=2", feed(-1000, 1.0), "older than what is kept");
    }

    @Test
    void aRepeatedReadingSaysTheSameAndACorrectionTakesItsPlace() {
        logic = logic(RATE);
        feedEvery(0, 10, 1.0);
        assertEquals(feed(10, 3.0), feed(10, 3.0));
        QualityTestsLogic.Result corrected = logic.evaluate(state, reading(10, 1.1, 1));
        assertEquals(QualityTestsLogic.PASS, corrected.flag());
        logic.evaluate(state, reading(10, 3.0, 0));
        assertEquals("1", feed(20, 1.2), "the stale revision did not come back");
    }

    @Test
    void aMissingValueIsNotTestedAndBreaksAFlatLine() {
        logic = logic(FLAT);
        feedEvery(0, 10, 1.5, 1.0, 1.0, 1.0);
        QualityTestsLogic.Result missing = logic.evaluate(state, reading(40, null, 0));
        assertEquals(new QualityTestsLogic.Result(9, "stage_m.gross_range=9;stage_m.flat_line=9"), missing);
        feedEvery(50, 10, 1.0, 1.0, 1.0);
        assertEquals("1 stage_m.flat_line=2", feed(80, 1.0));
    }

    @ParameterizedTest
    @CsvSource({"1, ''", "2, ''", "3, 'level_m.gross_range=3'", "4, 'level_m.gross_range=4'"})
    void anOptionalValueThatIsMissingIsNamedAndLeavesTheFlag(int flag, String before) {
        logic = logic("{\"spike\": {\"window_ms\": 3600000, \"suspect\": \"0.5\"}, \"rate_of_change\": {\"window_ms\":"
                + " 3600000, \"suspect\": \"1.2\"}, \"flat_line\": {\"tolerance\": \"0\", \"suspect_ms\": 3600000},"
                + " \"attenuated_signal\": {\"window_ms\": 7200000, \"suspect\": \"0.05\"}}");
        feedEvery(0, 10, 1.0);
        byte absent = ReadingHistory.ABSENT | ReadingHistory.UNUSABLE;
        QualityTestsLogic.Result result = logic.evaluate(
                state,
                new QualityTestsLogic.Reading(
                        "71520", START + 10 * MINUTE, 0, new long[1], new byte[] {absent}, flag, before.isEmpty() ? null : before));
        // The gap passed: a reading of which a test has passed was evaluated.
        assertEquals(flag == QualityTestsLogic.NOT_EVALUATED ? QualityTestsLogic.PASS : flag, result.flag());
        assertEquals(
                (before.isEmpty() ? "" : before + ";")
                        + "stage_m.spike=9;stage_m.rate_of_change=9;stage_m.flat_line=9;stage_m.attenuated_signal=9",
                result.detail());
    }

    @Test
    void anEntityMayHaveLimitsOfItsOwn() {
        logic = logic(SPIKE, "{\"entity\": \"71520\", \"field\": \"stage_m\", \"test\": \"spike\", \"suspect\": \"3\"}");
        feedEvery(0, 10, 1.0, 1.0, 1.0);
        assertEquals("1", feed(30, 4.0));
        assertEquals("3 stage_m.spike=3", feed(40, 9.0));
    }

    @ParameterizedTest
    @CsvSource({"4, 3, 4", "3, 9, 3", "9, 1, 9", "1, 2, 1", "2, 2, 2"})
    void theWorstFlagStandsForAll(int one, int other, int worst) {
        assertEquals(worst, QualityTestsLogic.worst(one, other));
        assertEquals(worst, QualityTestsLogic.worst(other, one));
    }

    @Test
    void theHistoryIsTheSameInWhateverOrderReadingsCome() {
        for (int seed = 0; seed < 200; seed++) {
            List<QualityTestsLogic.Reading> readings = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                readings.add(reading(i * 10, (double) i, 0));
            }
            logic = logic(SPIKE);
            QualityTestsLogic.State ordered = new QualityTestsLogic.State();
            readings.forEach(each -> logic.evaluate(ordered, each));
            Collections.shuffle(readings, new Random(seed));
            QualityTestsLogic.State shuffled = new QualityTestsLogic.State();
            readings.forEach(each -> logic.evaluate(shuffled, each));
            ReadingHistory one = ReadingHistory.of(ordered.history, 1);
            ReadingHistory other = ReadingHistory.of(shuffled.history, 1);
            assertEquals(one.size(), other.size());
            for (int i = 0; i < one.size(); i++) {
                assertEquals(one.atMillis(i), other.atMillis(i));
                assertEquals(one.value(i, 0), other.value(i, 0));
            }
        }
    }

    @Test
    void stateIsBoundedByTimeAndByNumber() {
        logic = logic(SPIKE);
        for (int minute = 0; minute < 3000; minute += 10) {
            feed(minute, 1.0);
        }
        assertEquals(31, ReadingHistory.of(state.history, 1).size(), "five hours of ten minutes, both ends");
        QualityTestsLogic.State often = new QualityTestsLogic.State();
        for (int i = 0; i < 2 * ReadingHistory.MAX_READINGS; i++) {
            logic.evaluate(
                    often,
                    new QualityTestsLogic.Reading("a", START + i, 0, new long[] {1}, new byte[1], 1, null));
        }
        assertEquals(ReadingHistory.MAX_READINGS, ReadingHistory.of(often.history, 1).size());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "not json",
        "{}",
        "{\"event_time\": \"t\", \"cadence_ms\": 0, \"keep_ms\": 1}",
        "{\"event_time\": \"t\", \"cadence_ms\": 1, \"keep_ms\": 1}",
        "{\"event_time\": \"t\", \"cadence_ms\": 1, \"keep_ms\": 1, \"fields\": {\"a\": {\"spike\": {\"window_ms\": 1}}}}",
        "{\"event_time\": \"t\", \"cadence_ms\": 1, \"keep_ms\": 1, \"fields\": {\"a\": {\"spike\": {\"window_ms\": 1,"
                + " \"suspect\": \"0.0001\"}}}}",
        "{\"event_time\": \"t\", \"cadence_ms\": 1, \"keep_ms\": 1, \"fields\": {\"a\": {\"spike\": {\"window_ms\": 1,"
                + " \"suspect\": \"x\"}}}}",
        "{\"event_time\": \"t\", \"cadence_ms\": 1, \"keep_ms\": 1, \"entity\": \"e\", \"gap\": {\"suspect_ms\": 1},"
                + " \"overrides\": [{\"entity\": \"1\", \"field\": \"a\", \"test\": \"spike\", \"suspect\": \"1\"}]}",
    })
    void wrongTestsAreRefused(String json) {
        assertThrows(IllegalArgumentException.class, () -> QualityRules.parse(json, name -> 3));
    }

    @Test
    void anEmptyHistoryIsNoHistory() {
        assertEquals(0, ReadingHistory.of(null, 2).size());
        assertNull(new QualityTestsLogic.State().history);
    }
}
