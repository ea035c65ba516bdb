package vn.hue.lake.scenario;

/** A fact as one condition of one scenario sees it; public fields as Flink wants them, those of class type may be null. */
public final class Observation {
    public String scenario;
    /** See {@link RuleBook}. */
    public long epoch;
    public int condition;
    public String group;
    public String series;
    public String ward;
    public String value;
    public String origin;
    public long eventMillis;
    public long receivedMillis;
    /** The arrival clock by which facts are put in order and time passes: an aggregate's is that of its window's end. */
    public long arrivedMillis;

    public Integer rawPartition;
    public Long rawOffset;
    public String topic;
    public int partition;
    public long offset;

    /** For Flink. */
    public Observation() {}

    /** Whose memory it belongs to. */
    public Group place() {
        return new Group(scenario, epoch, group);
    }

    /** The order in which facts of several partitions are judged. */
    public static int inOrder(Observation one, Observation other) {
        int order = Long.compare(one.arrivedMillis, other.arrivedMillis);
        order = order != 0 ? order : one.topic.compareTo(other.topic);
        order = order != 0 ? order : Integer.compare(one.partition, other.partition);
        order = order != 0 ? order : Long.compare(one.offset, other.offset);
        return order != 0 ? order : Integer.compare(one.condition, other.condition);
    }
}
