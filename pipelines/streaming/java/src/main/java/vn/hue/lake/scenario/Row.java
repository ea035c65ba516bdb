package vn.hue.lake.scenario;

/** One record of output; {@code topic} is without its namespace. Public fields as Flink wants them. */
public final class Row {
    public String topic;
    public String key;
    public byte[] value;

    /** For Flink. */
    public Row() {}

    Row(String topic, String key, byte[] value) {
        this.topic = topic;
        this.key = key;
        this.value = value;
    }
}
