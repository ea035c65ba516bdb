package vn.hue.lake.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;

/** Which rule judges which fact, and what a change does to what lasts. */
class RuleBookTest {

    private static String above(String limit) {
        return Harness.rule("{'conditions':[{'kind':'threshold','operator':'>=','limit':'" + limit + "'}]}");
    }

    private static Harness facts(Harness night) {
        for (int minute = 0; minute < 40; minute += 5) {
            night.fact(minute, "k", minute % 10 == 0 ? 3.0 : 1.0);
        }
        return night.pass(60);
    }

    @Test
    void aRuleJudgesWhatArrivesAfterItsClock() {
        Harness night = new Harness().publish(above("2.0"), true, 10);
        assertEquals(List.of("k 20-25 recovered", "k 30-35 recovered"), facts(night).runs());
    }

    @Test
    void anEditTakesEffectThereAndEndsWhatLasts() {
        Harness night = new Harness().publish(above("0.5"), true, null).publish(above("2.0"), true, 17);
        assertEquals(List.of("k 0-17 rule_changed", "k 20-25 recovered", "k 30-35 recovered"), facts(night).runs());
        JsonNode last = night.runRows().get(1);
        assertEquals("aborted", last.get("run_result").asText());
        assertEquals(Harness.time(17).toString(), last.get("ended_at").asText());
    }

    @Test
    void whatIsSwitchedOffJudgesNothingMore() {
        Harness night =
                new Harness().publish(above("2.0"), true, null).publish(above("2.0"), false, 22).publish(above("2.0"), true, 31);
        assertEquals(List.of("k 0-5 recovered", "k 10-15 recovered", "k 20-22 rule_disabled"), facts(night).runs());
    }

    @Test
    void newWordsKeepTheMemory() {
        Harness night = new Harness().publish(above("0.5"), true, null);
        String words = above("0.5").replace("\"severity\":\"high\"", "\"severity\":\"low\"");
        String record = "{\"enabled\":true,\"rule_hash\":\"" + above("0.5").hashCode() + "\",\"from\":{\"stage\":\""
                + Harness.time(12) + "\"},\"rule\":" + words + "}";
        put(night.book, 9, record);
        assertEquals(List.of("k 0-"), facts(night).runs());
    }

    /** A job that was restarted knows all records before its first fact; one that ran learned them one by one. */
    @Test
    void itDoesNotMatterWhenARecordIsLearned() {
        Harness early = new Harness().publish(above("0.5"), true, null).publish(above("2.0"), true, 17);
        for (int minute = 0; minute < 20; minute += 5) {
            early.take("clean.stage", record(minute), Harness.time(minute), minute);
        }
        early.pass(60);

        Harness late = new Harness().publish(above("0.5"), true, null);
        Matcher matcher = new Matcher(late.book);
        Evaluator evaluator = new Evaluator(late.book);
        Group group = new Group("s", 0, "k");
        State state = new State();
        List<Row> rows = new ArrayList<>();
        for (int minute = 0; minute < 20; minute += 5) {
            byte[] value = Harness.placed(record(minute), minute).getBytes(StandardCharsets.UTF_8);
            Fact fact = new Fact("clean.stage", 0, minute, Harness.time(minute).toEpochMilli(), value);
            matcher.match(fact).forEach(each -> rows.addAll(evaluator.observe(group, state, each)));
        }
        assertFalse(evaluator.isOver(group));
        late.publish(above("2.0"), true, 17);
        assertTrue(evaluator.isOver(group));
        rows.addAll(evaluator.advance(group, state, Long.MAX_VALUE - 1));
        List<String> expected = early.rows().stream().map(each -> each.get("value").toString()).toList();
        assertEquals(expected, rows.stream().map(each -> new String(each.value, StandardCharsets.UTF_8)).toList());
        assertEquals(List.of("k 0-17 rule_changed"), early.runs());
    }

    private static String record(int minute) {
        return Harness.record(minute, "k", minute % 10 == 0 ? 3.0 : 1.0, "");
    }

    @Test
    void aRecordThatIsKnownOrOlderChangesNothing() throws IOException {
        RuleBook book = new RuleBook();
        byte[] on = ("{\"enabled\":true,\"rule_hash\":\"x\",\"from\":{\"stage\":null},\"rule\":" + above("1") + "}")
                .getBytes(StandardCharsets.UTF_8);
        assertTrue(book.put("s", 5, on));
        assertFalse(book.put("s", 5, on));
        assertFalse(book.put("s", 4, on));
        assertFalse(book.put("s", 6, null), "a tombstone");
        assertEquals(1, book.inForce("clean.stage", 0).size());
        assertEquals(0, book.inForce("clean.rain", 0).size());
    }

    @Test
    void aRecordThatIsNoRuleIsRefusedAndLeavesTheOthers() {
        RuleBook book = new RuleBook();
        put(book, 1, "{\"enabled\":true,\"rule_hash\":\"x\",\"from\":{\"stage\":null},\"rule\":" + above("1") + "}");
        assertThrows(IOException.class, () -> book.put("t", 2, "{".getBytes(StandardCharsets.UTF_8)));
        String noRule = "{\"enabled\":true,\"from\":{},\"rule\":{\"of\":\"all\"}}";
        String message = assertThrows(IllegalArgumentException.class, () -> book.put("t", 3, noRule.getBytes()))
                .getMessage();
        assertTrue(message.startsWith("a rule without conditions"), message);
        String noTime = "{\"enabled\":true,\"from\":{\"stage\":\"soon\"},\"rule\":" + above("1") + "}";
        assertThrows(IllegalArgumentException.class, () -> book.put("t", 4, noTime.getBytes()));
        assertEquals(1, book.inForce("clean.stage", 0).size());
    }

    private static void put(RuleBook book, long offset, String record) {
        try {
            book.put("s", offset, record.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void aChangeIsARowOfItsOwn() throws IOException {
        String record = "{\"enabled\":false,\"change_kind\":\"disabled\",\"changed_by\":\"truc-ban\",\"changed_at\":"
                + "\"2026-01-01T00:00:00Z\",\"content_hash\":\"c\",\"rule_hash\":\"r\",\"from\":{\"stage\":null}}";
        Row row = Rows.change("s", 7, 0, record.getBytes(StandardCharsets.UTF_8));
        JsonNode value = new ObjectMapper().readTree(row.value);
        assertEquals("s|7", row.key);
        assertEquals(Rows.CHANGES, row.topic);
        assertEquals(7, value.get("rule_offset").asLong());
        assertEquals("{\"stage\":null}", value.get("effective_json").asText());
        assertFalse(value.get("is_enabled").asBoolean());
        assertEquals("1970-01-01T00:00:00Z", value.get("received_at").asText());
    }
}
