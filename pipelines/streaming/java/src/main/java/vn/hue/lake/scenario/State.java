package vn.hue.lake.scenario;

/**
 * What is remembered of one group of one epoch of a scenario; public fields as Flink's state wants them. A field of class
 * type is null until something is known. Bounded: at most {@link ScenarioLogic#MAX_SERIES} series, each with at most
 * {@link SeriesLogic#MAX_POINTS} points.
 */
public class State {
    /** The event time up to which the group is known; of an absence the arrival clock. Never goes back. */
    public Long nowMillis;
    /** The newest arrival clock of a fact. */
    public long arrivedMillis = Long.MIN_VALUE;
    /** Since when the conditions hold together, or since when they do not. */
    public Long trueSinceMillis;

    public Long falseSinceMillis;
    /** The arrival clock of the last fact that made the conditions hold. */
    public Long provenMillis;
    /** Before this event time no other run begins. */
    public Long coolUntilMillis;
    /** Facts that were older than the newest of their series, or whose series had no place any more. */
    public long ignored;

    public Series[] series = new Series[0];
    /** The run that lasts; null while there is none. */
    public Run run;
    /** The earliest timer that is set. */
    public Long timerMillis;

    /** What is remembered of one series of facts under one condition. */
    public static class Series {
        public int condition;
        public String key;
        /** Event time of the newest fact, and its place. */
        public Long newestMillis;

        public Integer rawPartition;
        public Long rawOffset;
        /** The newest arrival clock. */
        public long arrivedMillis;
        /** Whether the condition holds, and the event time of the last fact that showed it. */
        public boolean isMet;

        public Long metMillis;
        /** The newest value, and what the form of the condition compares it with. */
        public String value;

        public String before;
        public Long beforeMillis;
        public String origin;
        public String ward;
        /** The points of a delta, oldest first; the lowest, highest value and beginning of a frozen stretch. */
        public long[] times = new long[0];

        public double[] values = new double[0];
    }

    /** A run that has begun and not ended. */
    public static class Run {
        public String id;
        public long startedMillis;
        /** The arrival clock of its beginning: the version of its row. */
        public long receivedMillis;

        public String origin;
        public String ward;
        public String headlineVi;
        public String headlineEn;
        public String evidence;
    }
}
