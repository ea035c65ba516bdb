package vn.hue.lake.scenario;

/**
 * One record of a clean, aggregate or alert topic, undecoded; public fields as Flink wants them.
 *
 * <p>{@code topic} is without its namespace. {@code receivedMillis} is the record's own {@code received_at}, the arrival
 * clock of the raw record behind it, or of the newest one behind an aggregate.
 */
public final class Fact {
    public String topic;
    public int partition;
    public long offset;
    public long receivedMillis;
    public byte[] value;

    /** For Flink. */
    public Fact() {}

    public Fact(String topic, int partition, long offset, long receivedMillis, byte[] value) {
        this.topic = topic;
        this.partition = partition;
        this.offset = offset;
        this.receivedMillis = receivedMillis;
        this.value = value;
    }
}
