package vn.hue.lake.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;

/** How runs begin and end: hold, clearing, cool-down, groups, combinations, late facts and a second reading. */
class ScenarioLogicTest {

    private static final int MINUTE = 60_000;
    private static final String HIGH = "{'kind':'threshold','operator':'>=','limit':'2.0'}";
    private static final String BY_WARD = ",'series':['id'],'group':{'fields':['ward']}";

    private static String parts(String more, String... conditions) {
        return "{" + more + (more.isEmpty() ? "" : ",") + "'conditions':[" + String.join(",", conditions) + "]}";
    }

    @Test
    void aRunBeginsAfterTheHoldByEventTime() {
        Harness night = Harness.of(parts("'hold_ms':" + 10 * MINUTE, HIGH));
        night.fact(0, "k", 2.0).fact(9, "k", 2.5).fact(9.5, "k", 1.9).fact(10, "k", 2.1).fact(19, "k", 2.2);
        assertEquals(List.of(), night.runs());
        night.fact(20, "k", 2.0);
        assertEquals(List.of("k 20-"), night.runs());
    }

    @Test
    void silenceHoldsNothing() {
        Harness night = Harness.of(parts("'hold_ms':" + 10 * MINUTE, HIGH));
        night.fact(0, "k", 2.0).pass(600);
        assertEquals(List.of(), night.runs());
    }

    @Test
    void aRunEndsAfterTheRecoveryHasLasted() {
        Harness night = Harness.of(parts("'clear':{'on':'recovery','after_ms':" + 10 * MINUTE + "}", HIGH));
        night.fact(0, "k", 2.0).fact(5, "k", 1.0).fact(10, "k", 2.0).fact(11, "k", 1.0).fact(20.9, "k", 1.0);
        assertEquals(List.of("k 0-"), night.runs());
        night.pass(600);
        assertEquals(List.of("k 0-"), night.runs(), "silence shows no recovery");
        night.fact(21, "k", 1.0);
        assertEquals(List.of("k 0-21 recovered"), night.runs());
    }

    @Test
    void aRunEndsBySilenceWhenNothingProvesItAnyMore() {
        Harness night = Harness.of(parts("'clear':{'on':'silence','after_ms':" + 10 * MINUTE + "}", HIGH));
        night.fact(0, "k", 2.0).fact(5, "k", 2.0).fact(6, "k", 1.0).pass(14.9);
        assertEquals(List.of("k 0-"), night.runs());
        night.pass(15);
        assertEquals(List.of("k 0-15 silence"), night.runs());
        night.fact(16, "k", 2.0).fact(40, "k", 1.0);
        assertEquals(List.of("k 0-15 silence", "k 16-26 silence"), night.runs(), "found by the next fact as well");
    }

    @Test
    void noRunBeginsWhileItCoolsDown() {
        Harness night = Harness.of(parts("'cool_down_ms':" + 10 * MINUTE, HIGH));
        night.fact(0, "k", 2.0).fact(1, "k", 1.0).fact(5, "k", 2.0).fact(6, "k", 1.0).fact(10, "k", 2.0);
        assertEquals(List.of("k 0-1 recovered"), night.runs());
        night.fact(11, "k", 2.0);
        assertEquals(List.of("k 0-1 recovered", "k 11-"), night.runs(), "what still holds then begins a run");
    }

    @Test
    void anOlderFactChangesNothingAndIsCounted() {
        Harness night = Harness.of(parts("", HIGH));
        night.fact(0, "k", 1.0).fact(10, "k", 1.0).fact("clean.stage", 5, 11, "k", 9.0, "").fact(12, "k", 2.0);
        night.fact("clean.stage", 6, 13, "k", 0.0, "");
        assertEquals(List.of("k 12-"), night.runs());
        assertTrue(night.runRows().get(0).get("start_evidence_json").asText().endsWith("\"ignored\":1}"));
    }

    @Test
    void factsThatComeLateButInOrderAreJudgedAtTheirOwnTime() {
        Harness night = Harness.of(parts("'hold_ms':" + 10 * MINUTE, HIGH));
        for (int minute = 0; minute <= 20; minute += 5) {
            night.fact("clean.stage", minute, 300, "k", 2.0, "");
        }
        assertEquals(List.of("k 10-"), night.runs());
    }

    @Test
    void aCorrectionOfTheNewestCountsAndARepetitionDoesNot() {
        Harness night = Harness.of(parts("", HIGH));
        night.fact(0, "k", 1.0).fact(0, "k", 2.0);
        assertEquals(List.of("k 0-"), night.runs());
        Harness change = Harness.of(parts("", "{'kind':'change'}"));
        change.fact(0, "k", "a").take("clean.stage", Harness.record(1, "k", "b", ""), Harness.time(1), 77);
        int before = change.rows().size();
        change.take("clean.stage", Harness.record(1, "k", "b", ""), Harness.time(1), 77);
        assertEquals(before, change.rows().size(), "the same raw record is no second fact");
        assertEquals(List.of("k 1-"), change.runs());
    }

    @Test
    void everyGroupRunsByItself() {
        Harness night = Harness.of(parts("", HIGH));
        night.fact(0, "k", 2.0).fact(1, "p", 2.0).fact(2, "k", 1.0);
        assertEquals(List.of("k 0-2 recovered", "p 1-"), night.runs());
    }

    @Test
    void severalSeriesOfAGroupAreCountedForAWhile() {
        String two = "{'kind':'threshold','operator':'>=','limit':'2.0','at_least':2" + BY_WARD + "}";
        Harness night = Harness.of(parts("'within_ms':" + 30 * MINUTE, two));
        night.fact("clean.stage", 0, 0, "a", 2.0, ",'ward':'w'").fact("clean.stage", 5, 5, "b", 2.0, ",'ward':'v'");
        night.fact("clean.stage", 31, 31, "b", 2.0, ",'ward':'w'");
        assertEquals(List.of(), night.runs(), "the first was too long ago");
        night.fact("clean.stage", 40, 40, "a", 2.1, ",'ward':'w'");
        assertEquals(List.of("w 40-"), night.runs());
        JsonNode row = night.runRows().get(0);
        assertTrue(row.get("start_evidence_json").asText().contains("\"count\":2"));
        night.fact("clean.stage", 50, 50, "a", 1.0, ",'ward':'w'");
        assertEquals(List.of("w 40-50 recovered"), night.runs());
    }

    @Test
    void eventsAreSeriesOfTheirOwn() {
        String three = "{'kind':'threshold','operator':'==','words':['jam'],'at_least':3,'series':['event'],"
                + "'group':{'fields':[]}}";
        String more = "'within_ms':" + 10 * MINUTE + ",'clear':{'on':'silence','after_ms':" + 5 * MINUTE + "}";
        Harness night = Harness.of(parts(more, three));
        for (int i = 0; i < 5; i++) {
            night.fact("clean.stage", i * 4, i * 4, "k", "jam", ",'event':'" + i + "'");
        }
        night.pass(60);
        assertEquals(List.of("city 8-21 silence"), night.runs());
    }

    @Test
    void aGroupRemembersABoundedNumberOfSeries() {
        State state = new State();
        Rule rule = Rule.parse(Harness.json(Harness.rule(parts("'within_ms':" + 600 * MINUTE, HIGH.replace("}", BY_WARD + "}")))));
        ScenarioLogic logic = new ScenarioLogic("s", "w", rule, null);
        for (int i = 0; i < ScenarioLogic.MAX_SERIES + 10; i++) {
            Observation fact = new Observation();
            fact.series = "series " + i;
            fact.value = "1";
            fact.eventMillis = fact.arrivedMillis = fact.receivedMillis = i;
            logic.observe(state, fact);
        }
        assertEquals(ScenarioLogic.MAX_SERIES, state.series.length);
        assertEquals(10, state.ignored);
    }

    private static final String WET = "{'kind':'threshold','operator':'>','limit':'50','dataset':'rain','topic':'clean.rain',"
            + "'series':['id'],'group':{'fields':['ward']}}";
    private static final String DEEP = "{'kind':'threshold','operator':'>','limit':'30'" + BY_WARD + "}";

    private static void flood(Harness night) {
        night.fact("clean.rain", 0, 0, "r", 60, ",'ward':'w'").fact("clean.stage", 20, 20, "a", 35, ",'ward':'w'");
        night.fact("clean.rain", 25, 25, "r", 5, ",'ward':'w'").fact("clean.stage", 40, 40, "a", 10, ",'ward':'w'");
    }

    @Test
    void allConditionsMustHoldTogether() {
        Harness night = Harness.of(parts("'sequenced':true,'within_ms':" + 30 * MINUTE, WET, DEEP));
        flood(night);
        assertEquals(List.of("w 20-25 recovered"), night.runs());
        Harness tooFar = Harness.of(parts("'sequenced':true,'within_ms':" + 20 * MINUTE, WET, DEEP));
        flood(tooFar);
        assertEquals(List.of(), tooFar.runs());
    }

    @Test
    void anyConditionIsEnough() {
        Harness night = Harness.of(parts("'of':'any','sequenced':true,'within_ms':" + 30 * MINUTE, WET, DEEP));
        flood(night);
        assertEquals(List.of("w 0-40 recovered"), night.runs());
    }

    @Test
    void anAbsenceIsPartOfACombination() {
        String silent = "{'kind':'absence','period_ms':" + 10 * MINUTE + ",'field':null,'dataset':'rain',"
                + "'topic':'clean.rain','series':['id'],'group':{'fields':['ward']}}";
        Harness night = Harness.of(parts("'sequenced':true,'within_ms':" + 60 * MINUTE, silent, DEEP));
        night.fact("clean.rain", 0, 0, "r", 60, ",'ward':'w'").fact("clean.stage", 5, 5, "a", 35, ",'ward':'w'");
        night.pass(10).fact("clean.rain", 30, 30, "r", 60, ",'ward':'w'");
        assertEquals(List.of("w 10-30 recovered"), night.runs());
    }

    @Test
    void anAggregateCountsAsArrivedWhenItsContractPromisesIt() {
        String lagging = WET.replace("'clean.rain'", "'agg.rain'").replace("}}", "},'lag_ms':" + 15 * MINUTE + "}");
        Harness night = Harness.of(parts("'sequenced':true,'within_ms':" + 30 * MINUTE, lagging, DEEP));
        night.fact("clean.stage", 10, 10, "a", 35, ",'ward':'w'").fact("agg.rain", 0, 1, "r", 60, ",'ward':'w'");
        assertEquals(List.of("w 10-"), night.runs());
        assertEquals(
                Harness.time(16).toString(), night.runRows().get(0).get("received_at").asText(), "its row is that new");
    }

    @Test
    void theRowsSayWhatBeganAndWhatFollowed() {
        String output = "'output':{'scope_kind':'entity','agency':'H57.NNMT','severity':'high','headline_vi':'{scope} {value} {at}',"
                + "'headline_en':'{scope}','names':{'k':'Kim Long'},'actions':[{'kind':'alert','agency':'H57.NNMT'},"
                + "{'kind':'cap_draft','agency':'H57.NNMT','detail':{'urgency':'Immediate'}},"
                + "{'kind':'task','agency':'H57.XD','due_ms':3600000,'title_vi':'Chốt đường','title_en':'Close the road'}]}";
        String ward = HIGH.replace("}", ",'ward':{'fields':['id'],'codes':{'k':'19774'}}}");
        Harness night = Harness.of(parts(output, ward));
        night.fact(0, "k", 2.5).fact(1, "k", 1.0);
        List<JsonNode> rows = night.rows();
        List<String> keys = rows.stream().map(each -> each.get("key").asText()).toList();
        String id = "s|k|2025-10-27T00:00:00Z";
        assertEquals(
                List.of(
                        id, id + "|alert_issued|1", id + "|cap_draft_requested|2", id + "|task_created|3",
                        id, id + "|alert_ended|1", id + "|cap_cancel_requested|2"),
                keys);
        JsonNode run = rows.get(0).get("value");
        assertEquals("Kim Long 2.5 27/10 07:00", run.get("headline_vi").asText(), "times for people are local");
        assertEquals("exercise", run.get("trigger_kind").asText(), "a replay is no real operation");
        assertEquals("replay", run.get("origin").asText());
        assertEquals("19774", run.get("ward_code").asText());
        assertEquals("running", run.get("run_result").asText());
        assertFalse(run.has("ended_at"));
        assertTrue(run.get("start_evidence_json").asText().contains("\"raw_offset\":1"));
        JsonNode task = rows.get(3).get("value");
        assertEquals("H57.XD", task.get("agency_id").asText());
        assertEquals("2025-10-27T01:00:00Z", task.get("due_at").asText());
        assertEquals("Chốt đường", task.get("headline_vi").asText());
        JsonNode end = rows.get(4).get("value");
        assertEquals("completed", end.get("run_result").asText());
        assertTrue(end.get("received_at").asText().compareTo(run.get("received_at").asText()) > 0);
    }

    @Test
    void theEndIsTheNewerVersionEvenIfItCameAtTheSameInstant() {
        Harness night = Harness.of(parts("", HIGH));
        night.fact(0, "k", 2.0).fact("clean.stage", 1, 0, "k", 1.0, "");
        List<JsonNode> rows = night.runRows();
        assertEquals("2025-10-27T00:00:00Z", rows.get(0).get("received_at").asText());
        assertEquals("2025-10-27T00:00:00.001Z", rows.get(1).get("received_at").asText());
    }

    /** A job that reads its topics again gives the same rows, and upstream's repetitions change nothing. */
    @Test
    void aSecondReadingWritesTheSameRows() {
        String rule = parts(
                "'hold_ms':" + 2 * MINUTE + ",'cool_down_ms':" + 5 * MINUTE + ",'clear':{'on':'recovery','after_ms':"
                        + 3 * MINUTE + "}",
                "{'kind':'threshold','operator':'>=','limit':'2.0','clear_limit':'1.5'}");
        for (int seed = 0; seed < 50; seed++) {
            Random chance = new Random(seed);
            List<Object[]> facts = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                double late = chance.nextInt(10) == 0 ? chance.nextInt(8) : 0;
                String id = chance.nextBoolean() ? "k" : "p";
                facts.add(new Object[] {i - late, (double) i, id, 1 + chance.nextInt(15) / 10.0, (long) i});
            }
            Harness once = feed(rule, facts);
            assertEquals(once.rows(), feed(rule, facts).rows());
            List<Object[]> twice = new ArrayList<>(facts);
            twice.addAll(facts);
            assertEquals(once.rows(), feed(rule, twice).rows(), "written again by a rebuilt job before this one");
            assertFalse(once.runs().isEmpty());
        }
    }

    private static Harness feed(String rule, List<Object[]> facts) {
        Harness night = Harness.of(rule);
        for (Object[] each : facts) {
            String record = Harness.record((double) each[0], (String) each[2], each[3], "");
            night.take("clean.stage", record, Harness.time((double) each[1]), (long) each[4]);
        }
        return night;
    }

    /** Facts of several partitions, read in any order, are put in the order of the arrival clock. */
    @Test
    void theOrderOfFactsDoesNotDependOnHowTheyWereRead() {
        List<Observation> facts = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            Observation fact = new Observation();
            fact.topic = i % 3 == 0 ? "clean.rain" : "clean.stage";
            fact.arrivedMillis = i / 4;
            fact.partition = i % 2;
            fact.offset = i;
            facts.add(fact);
        }
        List<Observation> ordered = new ArrayList<>(facts);
        ordered.sort(Observation::inOrder);
        Collections.shuffle(facts, new Random(1));
        facts.sort(Observation::inOrder);
        assertEquals(ordered, facts);
    }
}
