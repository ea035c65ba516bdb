package vn.hue.lake.scenario.job;

/** One record of the topic {@code scenario.rule}; public fields as Flink wants them. */
public final class RuleRecord {
    public String scenario;
    public long offset;
    public long timestampMillis;
    /** Null for a tombstone. */
    public byte[] value;

    /** For Flink. */
    public RuleRecord() {}

    RuleRecord(String scenario, long offset, long timestampMillis, byte[] value) {
        this.scenario = scenario;
        this.offset = offset;
        this.timestampMillis = timestampMillis;
        this.value = value;
    }
}
