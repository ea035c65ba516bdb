package vn.hue.lake.flink;

import java.io.Serializable;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Normal levels and storage tables of the reservoirs.
 *
 * <p>Written as lines separated by {@code ;}: {@code reservoir_id|normal|level_m} says the normal level,
 * {@code reservoir_id|level_m|storage_mm3} one point of the storage table, in 10⁶ m³.
 */
final class ReservoirTables implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final int FIELDS = 3;

    private final HashMap<String, Long> normalLevels = new HashMap<>();
    private final HashMap<String, TreeMap<Long, Long>> storages = new HashMap<>();

    private ReservoirTables() {}

    /** The normal level in millimetres; NULL where none is known. */
    Long normalLevel(String reservoirId) {
        return normalLevels.get(reservoirId);
    }

    /**
     * The storage at a level, in thousand m³, on straight lines between the points of the table.
     *
     * @param level millimetres
     * @return NULL outside the table: nothing is extrapolated
     */
    Long storage(String reservoirId, long level) {
        TreeMap<Long, Long> points = storages.get(reservoirId);
        Map.Entry<Long, Long> below = points == null ? null : points.floorEntry(level);
        Map.Entry<Long, Long> above = points == null ? null : points.ceilingEntry(level);
        if (below == null || above == null) {
            return null;
        }
        if (below.getKey().equals(above.getKey())) {
            return below.getValue();
        }
        double share = (double) (level - below.getKey()) / (above.getKey() - below.getKey());
        return Math.round(below.getValue() + share * (above.getValue() - below.getValue()));
    }

    /**
     * Parses the lines.
     *
     * @throws IllegalArgumentException naming every wrong line
     */
    static ReservoirTables parse(String lines) {
        ReservoirTables tables = new ReservoirTables();
        List<String> problems = new ArrayList<>();
        for (String line : lines.split(";")) {
            if (!line.isBlank()) {
                try {
                    tables.add(line.strip().split("\\|", -1));
                } catch (IllegalArgumentException e) {
                    problems.add("'" + line.strip() + "': " + e.getMessage());
                }
            }
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException("Wrong reservoir tables, expected reservoir_id|normal|level_m or"
                    + " reservoir_id|level_m|storage_mm3 separated by ';': " + String.join("; ", problems));
        }
        return tables;
    }

    private void add(String[] fields) {
        if (fields.length != FIELDS) {
            throw new IllegalArgumentException(fields.length + " fields instead of " + FIELDS);
        }
        long second = thousandths(fields[2]);
        if (fields[1].equals("normal")) {
            if (normalLevels.put(fields[0], second) != null) {
                throw new IllegalArgumentException("the normal level stands twice");
            }
            return;
        }
        TreeMap<Long, Long> points = storages.computeIfAbsent(fields[0], unused -> new TreeMap<>());
        long level = thousandths(fields[1]);
        Map.Entry<Long, Long> below = points.lowerEntry(level);
        Map.Entry<Long, Long> above = points.higherEntry(level);
        boolean falls = (below != null && below.getValue() > second) || (above != null && above.getValue() < second);
        if (falls || points.put(level, second) != null) {
            throw new IllegalArgumentException("a level stands once, and a higher one holds no less");
        }
    }

    private static long thousandths(String number) {
        try {
            return new BigDecimal(number).movePointRight(3).longValueExact();
        } catch (ArithmeticException e) {
            throw new IllegalArgumentException(number + " has more than three decimals", e);
        }
    }
}
