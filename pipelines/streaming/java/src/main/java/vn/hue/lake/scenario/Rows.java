package vn.hue.lake.scenario;

import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/** The rows that a run leaves: its own, which its end replaces, and one for everything that follows; and changes of rules. */
public final class Rows {

    static final String RUNS = "alert.scenario_run";
    static final String OUTCOMES = "alert.scenario_outcome";
    static final String CHANGES = "alert.scenario_change";

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String OBSERVED = "observed";
    /** Actions with an outcome at the end of the run, too. */
    private static final String ALERT = "alert";
    private static final String CAP_DRAFT = "cap_draft";

    private Rows() {}

    static List<Row> of(String scenario, String group, Rule.Output output, ScenarioLogic.Transition transition) {
        List<Row> rows = new ArrayList<>();
        State.Run run = transition.run();
        rows.add(new Row(RUNS, run.id, run(scenario, group, output, transition)));
        int number = 0;
        for (Rule.Action action : output.actions()) {
            number++;
            String kind = transition.reason() == null ? begun(action) : ended(action);
            if (kind != null) {
                String id = run.id + '|' + kind + '|' + number;
                rows.add(new Row(OUTCOMES, id, outcome(scenario, id, kind, action, transition)));
            }
        }
        return rows;
    }

    /**
     * The row that says that a record of the topic of rules counts: who changed what, when, and at which offset.
     *
     * @throws IOException the record is no JSON
     */
    public static Row change(String scenario, long offset, long timestampMillis, byte[] value) throws IOException {
        JsonNode record = JSON.readTree(value);
        ObjectNode row = JSON.createObjectNode();
        row.put("scenario_id", scenario);
        row.put("rule_offset", offset);
        for (String name : List.of("changed_at", "changed_by", "change_kind", "content_hash", "rule_hash")) {
            put(row, name, record.path(name).asText(null));
        }
        row.put("is_enabled", record.path("enabled").asBoolean());
        row.put("effective_json", record.path("from").toString());
        // What an operator does is no replay, whatever the facts of the namespace are.
        row.put("origin", OBSERVED);
        row.put("received_at", time(timestampMillis));
        return new Row(CHANGES, scenario + '|' + offset, JSON.writeValueAsBytes(row));
    }

    private static byte[] run(
            String scenario, String group, Rule.Output output, ScenarioLogic.Transition transition) {
        State.Run run = transition.run();
        ObjectNode row = JSON.createObjectNode();
        row.put("run_id", run.id);
        row.put("scenario_id", scenario);
        row.put("started_at", time(run.startedMillis));
        row.put("trigger_kind", OBSERVED.equals(run.origin) ? "automatic" : "exercise");
        row.put("run_result", result(transition.reason()));
        row.put("severity", output.severity());
        row.put("agency_id", output.agency());
        row.put("scope_kind", output.scopeKind());
        row.put("scope_key", group);
        put(row, "ward_code", run.ward);
        if (transition.endedMillis() != null) {
            row.put("ended_at", time(transition.endedMillis()));
        }
        put(row, "end_reason", transition.reason());
        row.put("headline_vi", run.headlineVi);
        row.put("headline_en", run.headlineEn);
        row.put("start_evidence_json", run.evidence);
        put(row, "end_evidence_json", transition.evidence());
        return bytes(row, run, transition);
    }

    private static byte[] outcome(
            String scenario, String id, String kind, Rule.Action action, ScenarioLogic.Transition transition) {
        State.Run run = transition.run();
        long at = transition.endedMillis() == null ? run.startedMillis : transition.endedMillis();
        ObjectNode row = JSON.createObjectNode();
        row.put("outcome_id", id);
        row.put("run_id", run.id);
        row.put("scenario_id", scenario);
        row.put("outcome_kind", kind);
        row.put("outcome_at", time(at));
        put(row, "agency_id", action.agency());
        if (action.dueMillis() != null) {
            row.put("due_at", time(at + action.dueMillis()));
        }
        put(row, "ward_code", run.ward);
        row.put("headline_vi", action.titleVi() == null ? run.headlineVi : action.titleVi());
        row.put("headline_en", action.titleEn() == null ? run.headlineEn : action.titleEn());
        if (action.detail() != null && !action.detail().isNull()) {
            row.put("detail_json", action.detail().toString());
        }
        return bytes(row, run, transition);
    }

    private static String begun(Rule.Action action) {
        return switch (action.kind()) {
            case ALERT -> "alert_issued";
            case CAP_DRAFT -> "cap_draft_requested";
            default -> "task_created";
        };
    }

    private static String ended(Rule.Action action) {
        return switch (action.kind()) {
            case ALERT -> "alert_ended";
            case CAP_DRAFT -> "cap_cancel_requested";
            default -> null;
        };
    }

    private static String result(String reason) {
        if (reason == null) {
            return "running";
        }
        boolean isOver = reason.equals(ScenarioLogic.RECOVERED) || reason.equals(ScenarioLogic.SILENCE);
        return isOver ? "completed" : "aborted";
    }

    private static byte[] bytes(ObjectNode row, State.Run run, ScenarioLogic.Transition transition) {
        put(row, "origin", run.origin);
        row.put("received_at", time(transition.receivedMillis()));
        try {
            return JSON.writeValueAsBytes(row);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void put(ObjectNode row, String name, String value) {
        if (value != null) {
            row.put(name, value);
        }
    }

    private static String time(long millis) {
        return Instant.ofEpochMilli(millis).toString();
    }
}
