package vn.hue.lake.scenario;

import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * Every rule that the topic {@code scenario.rule} holds, and from when until when it is in force. Plain Java: no clock.
 *
 * <p>A record of the topic says from which arrival clock on it counts, by dataset. A fact is judged by the last record of
 * its scenario that counts from before the fact's arrival: what a job knows when it reads a fact decides nothing, so that
 * a job that reads its topics again decides the same.
 *
 * <p>Records that follow one another with the same conditions are one <em>epoch</em>, named by the offset of the first:
 * new words or actions keep the memory of a scenario, new conditions and switching it on begin with none.
 */
public final class RuleBook {

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int MAX_VERSIONS = 64;

    /** One record of the topic. */
    static final class Version {
        final String scenario;
        final long offset;
        final long epoch;
        final boolean isEnabled;
        final String logic;
        final Rule rule;
        private final Map<String, Long> from;
        private Version next;

        private Version(
                String scenario,
                long offset,
                long epoch,
                boolean isEnabled,
                String logic,
                Rule rule,
                Map<String, Long> from) {
            this.scenario = scenario;
            this.offset = offset;
            this.epoch = epoch;
            this.isEnabled = isEnabled;
            this.logic = logic;
            this.rule = rule;
            this.from = from;
        }

        /** The arrival clock after which it counts for a dataset; for one that it does not name its latest. */
        private long from(String dataset) {
            Long known = from.get(dataset);
            return known != null ? known : from.values().stream().max(Long::compare).orElse(Long.MIN_VALUE);
        }

        boolean isInForce(String dataset, long receivedMillis) {
            return receivedMillis > from(dataset) && (next == null || receivedMillis <= next.from(dataset));
        }
    }

    /** One condition of a version. */
    record Watch(Version version, int index) {

        Condition condition() {
            return version.rule.conditions().get(index);
        }
    }

    private final Map<String, List<Version>> byScenario = new HashMap<>();
    private Map<String, List<Watch>> watches = new HashMap<>();
    private Map<String, Set<String>> fields = new HashMap<>();

    /**
     * Takes in a record of the topic; returns false if it is known already, or takes nothing away from what is.
     *
     * @throws IOException the record is no JSON
     * @throws IllegalArgumentException the record is no rule
     */
    public boolean put(String scenario, long offset, byte[] value) throws IOException {
        List<Version> versions = byScenario.computeIfAbsent(scenario, unused -> new ArrayList<>());
        Version last = versions.isEmpty() ? null : versions.get(versions.size() - 1);
        if (value == null || (last != null && offset <= last.offset)) {
            return false;
        }
        JsonNode record = JSON.readTree(value);
        Map<String, Long> from = new HashMap<>();
        for (Map.Entry<String, JsonNode> each : record.path("from").properties()) {
            Long millis = each.getValue().isNull() ? Long.valueOf(Long.MIN_VALUE) : FlatJson.millis(each.getValue().asText());
            if (millis == null) {
                throw new IllegalArgumentException("the rule of " + scenario + " counts from no instant: " + each);
            }
            from.put(each.getKey(), millis);
        }
        boolean isEnabled = record.path("enabled").asBoolean();
        String logic = record.path("rule_hash").asText();
        boolean goesOn = last != null && last.isEnabled == isEnabled && last.logic.equals(logic);
        Version version = new Version(
                scenario,
                offset,
                goesOn ? last.epoch : offset,
                isEnabled,
                logic,
                record.hasNonNull("rule") ? Rule.parse(record.get("rule")) : null,
                from);
        if (last != null) {
            last.next = version;
        }
        versions.add(version);
        if (versions.size() > MAX_VERSIONS) {
            versions.remove(0);
        }
        index();
        return true;
    }

    private void index() {
        Map<String, List<Watch>> newWatches = new HashMap<>();
        Map<String, Set<String>> newFields = new HashMap<>();
        for (List<Version> versions : byScenario.values()) {
            for (Version version : versions) {
                if (!version.isEnabled || version.rule == null) {
                    continue;
                }
                List<Condition> conditions = version.rule.conditions();
                for (int i = 0; i < conditions.size(); i++) {
                    String topic = conditions.get(i).topic();
                    newWatches.computeIfAbsent(topic, unused -> new ArrayList<>()).add(new Watch(version, i));
                    newFields.computeIfAbsent(topic, unused -> new HashSet<>(Matcher.SYSTEM_FIELDS))
                            .addAll(version.rule.fields(topic));
                }
            }
        }
        watches = newWatches;
        fields = newFields;
    }

    /** Returns every field that some rule needs of a topic's facts. */
    Set<String> fields(String topic) {
        return fields.getOrDefault(topic, Set.of());
    }

    /** Returns the conditions in force for a fact of this topic that arrived then. */
    List<Watch> inForce(String topic, long receivedMillis) {
        List<Watch> found = List.of();
        for (Watch watch : watches.getOrDefault(topic, List.of())) {
            if (watch.version.isInForce(watch.condition().dataset(), receivedMillis)) {
                found = found.isEmpty() ? new ArrayList<>(2) : found;
                found.add(watch);
            }
        }
        return found;
    }

    /** Returns the newest version of an epoch, or null if the topic no longer holds it. */
    Version of(String scenario, long epoch) {
        List<Version> versions = byScenario.getOrDefault(scenario, List.of());
        for (int i = versions.size() - 1; i >= 0; i--) {
            if (versions.get(i).epoch == epoch) {
                return versions.get(i);
            }
        }
        return null;
    }

    /** How and from when on an epoch is over. */
    record End(long arrivedMillis, String reason) {}

    /** Returns how an epoch ended, or null while it lasts. */
    End endOf(String scenario, long epoch) {
        Version version = of(scenario, epoch);
        if (version == null) {
            return new End(Long.MIN_VALUE, ScenarioLogic.RULE_CHANGED);
        }
        if (version.next == null) {
            return null;
        }
        long until = Long.MIN_VALUE;
        for (Condition each : version.rule.conditions()) {
            long from = version.next.from(each.dataset());
            until = Math.max(until, from == Long.MIN_VALUE ? from : from + each.lagMillis());
        }
        return new End(until, version.next.isEnabled ? ScenarioLogic.RULE_CHANGED : ScenarioLogic.RULE_DISABLED);
    }

    /** Whether a scenario is switched on by its newest record. */
    boolean isEnabled(String scenario) {
        List<Version> versions = byScenario.getOrDefault(scenario, List.of());
        return !versions.isEmpty() && versions.get(versions.size() - 1).isEnabled;
    }
}
