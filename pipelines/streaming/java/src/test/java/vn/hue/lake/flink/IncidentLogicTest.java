package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class IncidentLogicTest {

    private static final String HEAD = "incident_method:key|raise_window_count:number|clear_window_count:number"
            + "|gap_window_count:number|raise_ratio_pct:number|clear_ratio_pct:number|occdf_pct:number|occrdf_ratio:number"
            + "|docctd_ratio:number|valid_from:from|valid_to:to;";
    private static final String THRESHOLDS = HEAD
            + "speed_threshold|2|2|3|50|60|||||2026-01-01T00:00:00Z;california|2|2|0|||8|0.5|0.15|2025-01-01T00:00:00Z|";
    private static final long WINDOW = 5 * 60_000L;
    /** For so long after a blocking a queue may stand, as the benchmark counts. */
    private static final long QUEUE_MIN = 30;
    private static final long START = Instant.parse("2025-10-27T00:00:00Z").toEpochMilli();

    private final IncidentLogic logic = new IncidentLogic(CodeListRows.parse(THRESHOLDS));
    private final IncidentLogic.State state = new IncidentLogic.State();
    private final List<String> seen = new ArrayList<>();

    /** Feeds the n-th window and notes its transitions as "n method raise|clear". */
    private List<IncidentLogic.Transition> feed(int n, Double ratio, Double up, Double down) {
        List<IncidentLogic.Transition> found = logic.evaluate(
                state, new IncidentLogic.Window("S", START + n * WINDOW, START + (n + 1) * WINDOW, ratio, up, down));
        found.forEach(each -> seen.add(n + " " + each.method() + (each.isRaise() ? " raise" : " clear")));
        return found;
    }

    private void speeds(double... ratios) {
        for (int n = 0; n < ratios.length; n++) {
            feed(n, ratios[n], null, null);
        }
    }

    private void pairs(double[]... occupancies) {
        for (int n = 0; n < occupancies.length; n++) {
            feed(n, null, occupancies[n][0], occupancies[n][1]);
        }
    }

    private static double[] pair(double up, double down) {
        return new double[] {up, down};
    }

    @Test
    void oneSlowWindowRaisesNothingAndTwoDo() {
        speeds(90, 49, 90, 49, 49, 49);
        assertEquals(List.of("4 speed_threshold raise"), seen);
    }

    @Test
    void exactlyTheThresholdIsNotSlowAndExactlyTheClearRatioIsFree() {
        speeds(50, 50, 50, 49.9, 49.9, 60, 60);
        assertEquals(List.of("4 speed_threshold raise", "6 speed_threshold clear"), seen);
    }

    @Test
    void betweenTheTwoRatiosItLasts() {
        speeds(40, 40, 55, 59, 60, 59, 60, 60);
        assertEquals(List.of("1 speed_threshold raise", "7 speed_threshold clear"), seen);
    }

    @Test
    void theRaiseSaysSinceWhenAndTheClearKeepsItsName() {
        feed(0, 40.0, null, null);
        IncidentLogic.Transition raise = feed(1, 30.0, null, null).get(0);
        assertEquals("speed_threshold|S|2025-10-27T00:10:00Z", raise.alertId());
        assertEquals(START, raise.startedAtMillis());
        assertEquals(START + 2 * WINDOW, raise.atMillis());
        feed(2, 80.0, null, null);
        IncidentLogic.Transition clear = feed(3, 80.0, null, null).get(0);
        assertEquals(raise.alertId(), clear.alertId());
        assertEquals(START, clear.startedAtMillis());
        assertEquals(START + 4 * WINDOW, clear.atMillis());
    }

    @Test
    void silenceEndsARunButNoIncident() {
        feed(0, 40.0, null, null);
        feed(5, 40.0, null, null); // four windows are missing: a new run
        feed(9, 40.0, null, null); // three may be missing
        feed(30, 80.0, null, null);
        feed(31, 80.0, null, null);
        assertEquals(List.of("9 speed_threshold raise", "31 speed_threshold clear"), seen);
    }

    @Test
    void aWindowThatIsNotNewerIsNotEvaluated() {
        feed(1, 40.0, null, null);
        feed(1, 40.0, null, null);
        feed(0, 40.0, null, null);
        assertEquals(List.of(), seen);
    }

    @Test
    void outsideTheValidityOfItsThresholdsAMethodIsSilent() {
        int inJanuary = 40_000;
        assertTrue(START + inJanuary * WINDOW > Instant.parse("2026-01-01T00:00:00Z").toEpochMilli());
        feed(inJanuary, 10.0, null, null);
        feed(inJanuary + 1, 10.0, null, null);
        assertEquals(List.of(), seen);
    }

    @Test
    void californiaNeedsAllThreeTestsAtTheBeginningAndOneToGoOn() {
        // Downstream empties (20 → 8 in two windows: DOCCTD 0.6), upstream fills; then the drop is over, the difference lasts.
        pairs(pair(20, 20), pair(20, 20), pair(30, 8), pair(32, 8), pair(32, 8), pair(20, 18), pair(20, 18));
        assertEquals(List.of("3 california raise", "6 california clear"), seen);
    }

    @Test
    void californiaIgnoresABottleneckThatIsAlwaysThere() {
        pairs(pair(40, 10), pair(40, 10), pair(40, 10), pair(40, 10));
        assertEquals(List.of(), seen);
    }

    @Test
    void californiaForgetsADifferenceThatDoesNotPersist() {
        pairs(pair(20, 20), pair(20, 20), pair(30, 8), pair(20, 18), pair(30, 16), pair(30, 16));
        assertEquals(List.of(), seen);
    }

    @Test
    void californiaNeedsTheTwoWindowsBefore() {
        feed(0, null, 20.0, 20.0);
        feed(2, null, 30.0, 8.0); // window 1 is missing
        feed(3, null, 30.0, 8.0);
        assertEquals(List.of(), seen);
    }

    @Test
    void anEmptyRoadDividesByNothing() {
        pairs(pair(0, 0), pair(0, 0), pair(0, 0), pair(9, 0), pair(9, 0));
        assertEquals(List.of(), seen, "a road that was empty downstream cannot empty any more");
    }

    @Test
    void bothMethodsWatchOneSectionEachForItself() {
        feed(0, 90.0, 20.0, 20.0);
        feed(1, 90.0, 20.0, 20.0);
        feed(2, 40.0, 30.0, 8.0);
        feed(3, 40.0, 30.0, 8.0);
        assertEquals(List.of("3 speed_threshold raise", "3 california raise"), seen);
    }

    /** One blocking of the simulated road, in minutes since its beginning, and the share of the road that it takes. */
    private record Blocking(long startMin, long endMin, double share) {}

    /** What blocked a road, and in minutes since its beginning when incidents were raised. */
    private record Road(List<Blocking> blockings, List<Long> raisedMin) {}

    /** Feeds three days of the road that benchmarks/incident/simulation.py made, by windows. */
    private Road drive(String road) throws IOException {
        List<Blocking> blockings = new ArrayList<>();
        List<Long> raisedMin = new ArrayList<>();
        int n = 0;
        try (InputStream file = IncidentLogicTest.class.getResourceAsStream("/incident/" + road + ".csv")) {
            for (String line : new String(file.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
                String[] cells = line.split(",");
                if (cells[0].equals("incident")) {
                    blockings.add(new Blocking(
                            Long.parseLong(cells[1]), Long.parseLong(cells[2]), Double.parseDouble(cells[3])));
                    continue;
                }
                for (IncidentLogic.Transition each :
                        feed(n, null, Double.parseDouble(cells[0]), Double.parseDouble(cells[1]))) {
                    if (each.isRaise()) {
                        raisedMin.add((each.atMillis() - START) / 60_000);
                    }
                }
                n++;
            }
        }
        assertEquals(3 * 288, n, "three days in windows of five minutes");
        return new Road(blockings, raisedMin);
    }

    @Test
    void aFreeRoadRaisesNothing() throws IOException {
        assertEquals(List.of(), drive("road_without_incidents").raisedMin());
    }

    /** A floor, not the figure: that is in benchmarks/incident. A light blocking makes no queue that could be seen. */
    @Test
    void aHeavyBlockingIsRaisedWithinTwentyMinutesAndNothingElseIs() throws IOException {
        Road road = drive("road_with_incidents");
        List<Blocking> heavy =
                road.blockings().stream().filter(each -> each.share() >= 0.7).toList();
        assertEquals(4, heavy.size());
        for (Blocking each : heavy) {
            assertTrue(
                    road.raisedMin().stream().anyMatch(min -> min > each.startMin() && min <= each.startMin() + 20),
                    () -> each + " is not raised in time: " + road.raisedMin());
        }
        for (Long min : road.raisedMin()) {
            assertTrue(
                    road.blockings().stream()
                            .anyMatch(each -> min > each.startMin() && min <= each.endMin() + QUEUE_MIN),
                    () -> "nothing blocks the road in minute " + min);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "speed_threshold|2|2|3||60|||||, need the number raise_ratio_pct",
        "california|2|2|0|||8||0.15||, need the number occrdf_ratio",
    })
    void thresholdsThatLackSomethingAreRefused(String row, String said) {
        CodeListRows list = CodeListRows.parse(HEAD + row);
        String message = assertThrows(IllegalArgumentException.class, () -> new IncidentLogic(list))
                .getMessage();
        assertTrue(message.contains(said), message);
    }
}
