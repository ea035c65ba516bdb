package vn.hue.lake.scenario;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Finds the conditions that a fact concerns, and its place in each. Plain Java: no clock, no Flink. */
public final class Matcher {

    static final Set<String> SYSTEM_FIELDS = Set.of("qc_flag", "origin", "disposition", "raw_partition", "raw_offset");
    /** QC flags of facts that prove nothing (QARTOD: fail, missing). */
    private static final Set<String> UNUSABLE = Set.of("4", "9");

    private final RuleBook book;
    private long unreadable;
    private long unplaced;

    public Matcher(RuleBook book) {
        this.book = book;
    }

    /** Facts that a rule asked for and that are no JSON object, so far; landing keeps their bytes. */
    public long unreadable() {
        return unreadable;
    }

    /** Facts without an event time, series or group that a rule asked for, so far. */
    public long unplaced() {
        return unplaced;
    }

    /** Returns what the fact means to each condition in force; nothing for a duplicate or a failed reading. */
    public List<Observation> match(Fact fact) {
        List<RuleBook.Watch> watches = book.inForce(fact.topic, fact.receivedMillis);
        if (watches.isEmpty() || fact.value == null) {
            return List.of();
        }
        Map<String, String> values;
        try {
            values = FlatJson.read(fact.value, book.fields(fact.topic));
        } catch (IOException e) {
            unreadable++;
            return List.of();
        }
        if ("duplicate".equals(values.get("disposition")) || UNUSABLE.contains(values.getOrDefault("qc_flag", ""))) {
            return List.of();
        }
        List<Observation> found = new ArrayList<>(watches.size());
        for (RuleBook.Watch watch : watches) {
            if (counts(watch.condition(), values)) {
                Observation observation = observe(fact, values, watch);
                if (observation != null) {
                    found.add(observation);
                }
            }
        }
        return found;
    }

    private Observation observe(Fact fact, Map<String, String> values, RuleBook.Watch watch) {
        Condition condition = watch.condition();
        String time = values.get(condition.eventTime());
        Long event = time == null ? null : FlatJson.millis(time);
        String group = condition.group().of(values);
        String series = condition.series() == null ? "" : Condition.joined(condition.series(), values);
        if (event == null || group == null || series == null) {
            unplaced++;
            return null;
        }
        Rule rule = watch.version().rule;
        if (rule.only() != null && !rule.only().contains(group)) {
            return null;
        }
        Observation observation = new Observation();
        observation.scenario = watch.version().scenario;
        observation.epoch = watch.version().epoch;
        observation.condition = watch.index();
        observation.group = group;
        observation.series = series;
        observation.ward = condition.ward() == null ? null : condition.ward().of(values);
        observation.value = condition.field() == null ? null : plain(condition, values.get(condition.field()));
        observation.origin = values.get("origin");
        observation.eventMillis = event;
        observation.receivedMillis = fact.receivedMillis;
        observation.arrivedMillis = fact.receivedMillis + condition.lagMillis();
        observation.rawPartition = values.containsKey("raw_partition") ? Integer.valueOf(values.get("raw_partition")) : null;
        observation.rawOffset = values.containsKey("raw_offset") ? Long.valueOf(values.get("raw_offset")) : null;
        observation.topic = fact.topic;
        observation.partition = fact.partition;
        observation.offset = fact.offset;
        return observation;
    }

    /** A number in one form, however it was written: evidence shows it, and a repetition is found by it. */
    private static String plain(Condition condition, String value) {
        return condition.isNumeric() && SeriesLogic.isUsable(condition, value)
                ? SeriesLogic.text(Double.parseDouble(value))
                : value;
    }

    private static boolean counts(Condition condition, Map<String, String> values) {
        for (Map.Entry<String, Set<String>> each : condition.where().entrySet()) {
            String value = values.get(each.getKey());
            if (value == null || !each.getValue().contains(value)) {
                return false;
            }
        }
        return true;
    }
}
