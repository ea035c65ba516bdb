package vn.hue.lake.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Each form of a condition by itself. */
class FormsTest {

    private static final String HIGH = "{'kind':'threshold','operator':'>=','limit':'2.0'}";

    private static Harness one(String condition) {
        return Harness.of("{'conditions':[" + condition + "]}");
    }

    @ParameterizedTest
    @CsvSource({"<,1.9,2.0", "<=,2.0,2.1", ">,2.1,2.0", ">=,2.0,1.9", "==,2.0,2.1", "!=,2.1,2.0"})
    void aThresholdComparesNumbers(String operator, double meets, double fails) {
        Harness night = one("{'kind':'threshold','operator':'" + operator + "','limit':'2.0'}");
        night.fact(0, "k", fails).fact(1, "k", meets).fact(2, "k", meets).fact(3, "k", fails);
        assertEquals(List.of("k 1-3 recovered"), night.runs());
    }

    @Test
    void aThresholdComparesWords() {
        Harness night = one("{'kind':'threshold','operator':'==','words':['red','black']}");
        night.fact(0, "k", "green").fact(1, "k", "black").fact(2, "k", "red").fact(3, "k", "green");
        assertEquals(List.of("k 1-3 recovered"), night.runs());
        Harness other = one("{'kind':'threshold','operator':'!=','words':['true']}");
        other.fact(0, "k", true).fact(1, "k", false).fact(2, "k", true);
        assertEquals(List.of("k 1-2 recovered"), other.runs());
    }

    @Test
    void aThresholdStaysMetUntilItsOtherLimit() {
        Harness night = one("{'kind':'threshold','operator':'>=','limit':'2.0','clear_limit':'1.5'}");
        night.fact(0, "k", 1.8).fact(1, "k", 2.0).fact(2, "k", 1.5).fact(3, "k", 1.49).fact(4, "k", 1.8);
        assertEquals(List.of("k 1-3 recovered"), night.runs());
    }

    @Test
    void aChangeLastsWhileTheValueStays() {
        Harness night = one("{'kind':'change','words':['flashing']}");
        night.fact(0, "k", "flashing").fact(1, "k", "fixed").fact(2, "k", "flashing");
        night.fact(3, "k", "flashing").fact(4, "k", "fixed");
        assertEquals(List.of("k 2-4 recovered"), night.runs(), "the first value is no change");
        assertTrue(night.runRows().get(0).get("headline_vi").asText().startsWith("Kim Long: fixed → flashing (1) lúc "));
    }

    @Test
    void aChangeKnowsFromWhatAndEndsAtOnceWithoutAGoal() {
        Harness from = one("{'kind':'change','before':['fixed'],'words':['flashing']}");
        from.fact(0, "k", "manual").fact(1, "k", "flashing").fact(2, "k", "fixed").fact(3, "k", "flashing");
        assertEquals(List.of("k 3-"), from.runs());
        Harness any = one("{'kind':'change'}");
        any.fact(0, "k", 1).fact(1, "k", 2).fact(2, "k", 2).fact(3, "k", 1);
        assertEquals(List.of("k 1-2 recovered", "k 3-"), any.runs());
    }

    @ParameterizedTest
    @CsvSource({"rise,k 3-", "fall,k 5-", "either,k 3-"})
    void aDeltaLooksAtTheWholePeriod(String direction, String run) {
        Harness night =
                one("{'kind':'delta','direction':'" + direction + "','amount':'0.3','period_ms':" + 3 * 60_000 + "}");
        // From 1.1 at minute 0 on, the rise of 0.3 is there at minute 3; 0.1 + 0.2 is no exact 0.3.
        night.fact(0, "k", 1.1).fact(1, "k", 1.2).fact(2, "k", 1.3).fact(3, "k", 1.4);
        assertTrue(night.runs().size() == (direction.equals("fall") ? 0 : 1));
        night.fact(4, "k", 1.2).fact(5, "k", 1.1);
        assertTrue(night.runs().get(0).startsWith(run), night.runs().toString());
    }

    @Test
    void aDeltaForgetsWhatIsOlderThanItsPeriod() {
        Harness night = one("{'kind':'delta','direction':'rise','amount':'0.3','period_ms':" + 3 * 60_000 + "}");
        night.fact(0, "k", 1.0).fact(4, "k", 1.3).fact(5, "k", 1.59);
        assertEquals(List.of(), night.runs());
        night.fact(7, "k", 1.6);
        assertEquals(List.of("k 7-"), night.runs(), "exactly as old as the period counts");
    }

    @Test
    void aDeltaKeepsABoundedNumberOfPoints() {
        State.Series series = new State.Series();
        Condition condition = Rule.parse(Harness.json(Harness.rule(
                        "{'conditions':[{'kind':'delta','direction':'rise','amount':'1','period_ms':604800000}]}")))
                .conditions()
                .get(0);
        for (int i = 0; i < SeriesLogic.MAX_POINTS + 200; i++) {
            Observation fact = new Observation();
            fact.eventMillis = i;
            fact.value = "1";
            SeriesLogic.observe(condition, series, fact);
        }
        assertEquals(SeriesLogic.MAX_POINTS, series.times.length);
        assertEquals(SeriesLogic.MAX_POINTS + 199, series.times[SeriesLogic.MAX_POINTS - 1]);
    }

    @Test
    void frozenNeedsItsWholePeriodWithoutAMove() {
        Harness night = one("{'kind':'frozen','amount':'0.01','period_ms':" + 10 * 60_000 + "}");
        night.fact(0, "k", 1.0).fact(5, "k", 1.01).fact(9, "k", 1.0);
        assertEquals(List.of(), night.runs());
        night.fact(10, "k", 1.005).fact(12, "k", 1.02);
        assertEquals(List.of("k 10-12 recovered"), night.runs());
        // A slow drift is no standstill: the whole stretch lies within the tolerance, not each step.
        for (int i = 20; i < 60; i++) {
            night.fact(i, "k", 1.0 + i * 0.002);
        }
        assertEquals(List.of("k 10-12 recovered"), night.runs());
    }

    @Test
    void absenceGoesByTheArrivalClock() {
        Harness night = one("{'kind':'absence','period_ms':" + 10 * 60_000 + ",'field':null}");
        night.fact(0, "k", 1).fact(5, "k", 1).pass(14.99);
        assertEquals(List.of(), night.runs());
        night.pass(15);
        assertEquals(List.of("k 15-"), night.runs());
        night.fact(40, "k", 1);
        assertEquals(List.of("k 15-40 recovered"), night.runs());
    }

    @Test
    void absenceIsFoundByTheNextFactToo() {
        Harness byTimer = one("{'kind':'absence','period_ms':" + 10 * 60_000 + ",'field':null}");
        byTimer.fact(0, "k", 1).pass(30).fact(30, "k", 1);
        Harness byFact = one("{'kind':'absence','period_ms':" + 10 * 60_000 + ",'field':null}");
        byFact.fact(0, "k", 1).fact(30, "k", 1);
        assertEquals(List.of("k 10-30 recovered"), byFact.runs());
        assertEquals(byTimer.rows(), byFact.rows());
    }

    @Test
    void aFactThatArrivesLateStillShowsThatSomebodyIsThere() {
        Harness night = one("{'kind':'absence','period_ms':" + 10 * 60_000 + ",'field':null}");
        night.fact(0, "k", 1).fact("clean.stage", -30, 8, "k", 1, "").pass(17);
        assertEquals(List.of(), night.runs());
        night.pass(18);
        assertEquals(List.of("k 18-"), night.runs());
    }

    @Test
    void factsThatProveNothingAreNotJudged() {
        Harness night = one(HIGH);
        night.fact("clean.stage", 0, 0, "k", 9.0, ",'qc_flag':4");
        night.fact("clean.stage", 1, 1, "k", 9.0, ",'qc_flag':9");
        night.fact("clean.stage", 2, 2, "k", 9.0, ",'disposition':'duplicate'");
        night.fact("clean.stage", 3, 3, "k", null, "");
        night.fact("clean.stage", 4, 4, "k", "high", "");
        night.take("clean.stage", "{\"observed_at\":\"" + Harness.time(5) + "\",\"value\":9}", Harness.time(5), 90);
        night.take("clean.stage", "[1]", Harness.time(6), 91);
        night.fact("clean.rain", 7, 7, "k", 9.0, "");
        assertEquals(List.of(), night.runs());
        night.fact("clean.stage", 8, 8, "k", 9.0, ",'qc_flag':3,'disposition':'late'");
        assertEquals(List.of("k 8-"), night.runs());
        assertTrue(night.runRows().get(0).get("start_evidence_json").asText().contains("\"ignored\":2"));
    }

    @Test
    void aFilterAndALimitedScope() {
        Harness night = Harness.of("{'only':['k'],'conditions':[{'kind':'threshold','operator':'>=','limit':'2.0',"
                + "'where':{'level':['2','3']}}]}");
        night.fact("clean.stage", 0, 0, "k", 9.0, ",'level':1").fact("clean.stage", 1, 1, "p", 9.0, ",'level':2");
        night.fact("clean.stage", 2, 2, "k", 9.0, "").fact("clean.stage", 3, 3, "k", 9.0, ",'level':3");
        assertEquals(List.of("k 3-"), night.runs());
    }
}
