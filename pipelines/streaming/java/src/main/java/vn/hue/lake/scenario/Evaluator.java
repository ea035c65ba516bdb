package vn.hue.lake.scenario;

import java.util.ArrayList;
import java.util.List;

/** What a job and a dry run do alike with a group: judge a fact or let time pass, and write the rows. Plain Java. */
public final class Evaluator {

    private final RuleBook book;

    public Evaluator(RuleBook book) {
        this.book = book;
    }

    /** Whether the book knows the group's epoch; the other methods need that. */
    public boolean knows(Group group) {
        return book.of(group.scenario(), group.epoch()) != null;
    }

    /** Whether its facts must be put in order before they are judged. */
    public boolean isSequenced(Group group) {
        return rule(group).isSequenced();
    }

    /** Whether its epoch is over. */
    public boolean isOver(Group group) {
        return book.endOf(group.scenario(), group.epoch()) != null;
    }

    /** Judges a fact. */
    public List<Row> observe(Group group, State state, Observation fact) {
        return rows(group, logic(group).observe(state, fact));
    }

    /** Lets time pass up to and including this arrival clock. */
    public List<Row> advance(Group group, State state, long clockMillis) {
        return rows(group, logic(group).advance(state, clockMillis));
    }

    /** See {@link ScenarioLogic#nextDeadline}. */
    public long nextDeadline(Group group, State state) {
        return logic(group).nextDeadline(state);
    }

    /** See {@link ScenarioLogic#isForgotten}. */
    public boolean isForgotten(Group group, State state, long clockMillis) {
        return logic(group).isForgotten(state, clockMillis);
    }

    private Rule rule(Group group) {
        return book.of(group.scenario(), group.epoch()).rule;
    }

    private ScenarioLogic logic(Group group) {
        return new ScenarioLogic(
                group.scenario(), group.name(), rule(group), book.endOf(group.scenario(), group.epoch()));
    }

    private List<Row> rows(Group group, List<ScenarioLogic.Transition> transitions) {
        if (transitions.isEmpty()) {
            return List.of();
        }
        List<Row> rows = new ArrayList<>();
        for (ScenarioLogic.Transition each : transitions) {
            rows.addAll(Rows.of(group.scenario(), group.name(), rule(group).output(), each));
        }
        return rows;
    }
}
