package vn.hue.lake.flink;

import java.io.Serializable;
import java.math.BigDecimal;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/**
 * The alarm levels of the stations with their time of validity.
 *
 * <p>Written as lines {@code station_id|level|threshold_m|valid_from|valid_to} separated by {@code ;}. Times are ISO 8601
 * with an offset; {@code valid_from} belongs to the time of validity, {@code valid_to} does not and may be empty.
 */
final class AlarmLevels implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final int FIELDS = 5;

    /** The level whose threshold is the highest stage on record at the station. */
    static final int RECORD = 4;

    private record Threshold(long millimetres, long fromMillis, long toMillis) implements Serializable {

        boolean isValidAt(long millis) {
            return fromMillis <= millis && millis < toMillis;
        }
    }

    /** One level of one station, with its thresholds over time. */
    static final class Level implements Serializable {

        private static final long serialVersionUID = 1L;

        private final int number;
        private final ArrayList<Threshold> thresholds = new ArrayList<>();

        private Level(int number) {
            this.number = number;
        }

        /** The level: 1, 2 or 3 (báo động I, II, III), or {@link AlarmLevels#RECORD}. */
        int number() {
            return number;
        }

        /** The threshold in millimetres that is valid at this time, if any is. */
        OptionalLong thresholdAt(long millis) {
            for (Threshold threshold : thresholds) {
                if (threshold.isValidAt(millis)) {
                    return OptionalLong.of(threshold.millimetres);
                }
            }
            return OptionalLong.empty();
        }
    }

    private final HashMap<String, ArrayList<Level>> byStation = new HashMap<>();

    private AlarmLevels() {}

    /** The name of the rule that raises a level: BD1, BD2, BD3 or RECORD. */
    static String rule(int level) {
        return level == RECORD ? "RECORD" : "BD" + level;
    }

    /** Returns the station's levels, lowest first; none for an unknown station. */
    List<Level> of(String stationId) {
        ArrayList<Level> levels = byStation.get(stationId);
        return levels == null ? List.of() : levels;
    }

    /**
     * Parses the lines.
     *
     * @throws IllegalArgumentException naming every wrong line
     */
    static AlarmLevels parse(String lines) {
        AlarmLevels levels = new AlarmLevels();
        List<String> problems = new ArrayList<>();
        for (String line : lines.split(";")) {
            if (!line.isBlank()) {
                try {
                    levels.add(line.strip().split("\\|", -1));
                } catch (IllegalArgumentException | DateTimeException e) {
                    problems.add("'" + line.strip() + "': " + e.getMessage());
                }
            }
        }
        if (levels.byStation.isEmpty() && problems.isEmpty()) {
            problems.add("no line is given");
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException(
                    "Wrong alarm levels, expected station_id|level|threshold_m|valid_from|valid_to separated by ';': "
                            + String.join("; ", problems));
        }
        levels.byStation.values().forEach(each -> each.sort(Comparator.comparingInt(Level::number)));
        return levels;
    }

    private void add(String[] fields) {
        if (fields.length != FIELDS) {
            throw new IllegalArgumentException(fields.length + " fields instead of " + FIELDS);
        }
        int number = Integer.parseInt(fields[1]);
        if (number < 1 || number > RECORD) {
            throw new IllegalArgumentException("the level is " + number + "; allowed are 1, 2, 3 and " + RECORD + " (record)");
        }
        Threshold threshold = new Threshold(
                millimetres(new BigDecimal(fields[2])),
                millis(fields[3]),
                fields[4].isEmpty() ? Long.MAX_VALUE : millis(fields[4]));
        if (threshold.fromMillis >= threshold.toMillis) {
            throw new IllegalArgumentException("valid_to is not after valid_from");
        }
        Level level = level(fields[0], number);
        for (Threshold other : level.thresholds) {
            if (other.fromMillis < threshold.toMillis && threshold.fromMillis < other.toMillis) {
                throw new IllegalArgumentException("its time of validity overlaps that of another line");
            }
        }
        level.thresholds.add(threshold);
    }

    private Level level(String stationId, int number) {
        if (stationId.isEmpty()) {
            throw new IllegalArgumentException("the station_id is empty");
        }
        Map<String, ArrayList<Level>> stations = byStation;
        ArrayList<Level> levels = stations.computeIfAbsent(stationId, unused -> new ArrayList<>());
        for (Level level : levels) {
            if (level.number == number) {
                return level;
            }
        }
        Level level = new Level(number);
        levels.add(level);
        return level;
    }

    /**
     * Returns metres as whole millimetres.
     *
     * @throws IllegalArgumentException if there is a fraction of a millimetre
     */
    static long millimetres(BigDecimal metres) {
        try {
            return metres.movePointRight(3).longValueExact();
        } catch (ArithmeticException e) {
            throw new IllegalArgumentException(metres + " m is no whole number of millimetres", e);
        }
    }

    private static long millis(String isoTime) {
        Instant instant = OffsetDateTime.parse(isoTime).toInstant();
        return instant.toEpochMilli();
    }
}
