package vn.hue.lake.scenario;

/** One group of one epoch of a scenario: what has a memory and runs of its own. Epochs: see {@link RuleBook}. */
public record Group(String scenario, long epoch, String name) {

    /** As one text, to be a key in Flink. */
    public String key() {
        return scenario + '\n' + epoch + '\n' + name;
    }

    /** Reads what {@link #key()} writes. */
    public static Group of(String key) {
        String[] parts = key.split("\n", 3);
        return new Group(parts[0], Long.parseLong(parts[1]), parts[2]);
    }
}
