package vn.hue.lake.scenario;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.PriorityQueue;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * Judges facts of the past by one rule, as the job would: {@code lake scenarios test} calls it. It writes nothing but what
 * it prints: a JSON line for every row that the job would have written.
 *
 * <p>Arguments: a file with the rule's record as it stands on its topic, a file with the facts in the order of their
 * arrival ({@code topic, partition, offset, received_ms, record}, separated by tabs), the arrival clock at the end in
 * milliseconds since 1970, and the scenario's id.
 */
public final class DryRun {

    private static final int COLUMNS = 5;

    /** A timer of a group. */
    private record Timer(long millis, Group group) {}

    private final Evaluator evaluator;
    private final Matcher matcher;
    private final PrintStream out;
    private final ObjectMapper json = new ObjectMapper();
    private final Map<Group, State> memory = new HashMap<>();
    private final PriorityQueue<Timer> timers = new PriorityQueue<>((one, other) -> {
        int order = Long.compare(one.millis, other.millis);
        return order != 0 ? order : one.group.key().compareTo(other.group.key());
    });

    DryRun(RuleBook book, PrintStream out) {
        this.evaluator = new Evaluator(book);
        this.matcher = new Matcher(book);
        this.out = out;
    }

    public static void main(String[] arguments) throws IOException {
        RuleBook book = new RuleBook();
        book.put(arguments[3], 0, Files.readAllBytes(Path.of(arguments[0])));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        DryRun run = new DryRun(book, out);
        try (BufferedReader facts = Files.newBufferedReader(Path.of(arguments[1]))) {
            for (String line = facts.readLine(); line != null; line = facts.readLine()) {
                run.take(fact(line));
            }
        }
        run.pass(Long.parseLong(arguments[2]));
        out.flush();
    }

    private static Fact fact(String line) {
        String[] columns = line.split("\t", COLUMNS);
        return new Fact(
                columns[0],
                Integer.parseInt(columns[1]),
                Long.parseLong(columns[2]),
                Long.parseLong(columns[3]),
                columns[4].getBytes(StandardCharsets.UTF_8));
    }

    /** Judges one fact; those before it have arrived before. */
    void take(Fact fact) throws IOException {
        for (Observation observation : matcher.match(fact)) {
            pass(observation.arrivedMillis - 1);
            Group group = observation.place();
            State state = memory.computeIfAbsent(group, unused -> new State());
            print(evaluator.observe(group, state, observation));
            keep(group, state);
        }
    }

    /** Lets time pass up to and including this arrival clock. */
    void pass(long clockMillis) throws IOException {
        while (!timers.isEmpty() && timers.peek().millis <= clockMillis) {
            Timer timer = timers.poll();
            State state = memory.get(timer.group);
            if (state != null && state.timerMillis != null && state.timerMillis == timer.millis) {
                state.timerMillis = null;
                print(evaluator.advance(timer.group, state, timer.millis));
                if (evaluator.isForgotten(timer.group, state, timer.millis)) {
                    memory.remove(timer.group);
                } else {
                    keep(timer.group, state);
                }
            }
        }
    }

    private void keep(Group group, State state) {
        long next = evaluator.nextDeadline(group, state);
        if (next != Long.MAX_VALUE && (state.timerMillis == null || next < state.timerMillis)) {
            state.timerMillis = next;
            timers.add(new Timer(next, group));
        }
    }

    private void print(Iterable<Row> rows) throws IOException {
        for (Row row : rows) {
            ObjectNode line = json.createObjectNode();
            JsonNode value = json.readTree(row.value);
            line.put("topic", row.topic);
            line.put("key", row.key);
            line.set("value", value);
            out.println(line);
        }
    }
}
