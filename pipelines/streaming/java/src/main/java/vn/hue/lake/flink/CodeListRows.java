package vn.hue.lake.flink;

import java.io.Serializable;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;

/**
 * Rows of a code list with their time of validity, as a job's SQL carries them in one literal.
 *
 * <p>Written as lines separated by {@code ;}, cells by {@code |}. The first line names the columns and says of each what it
 * is: {@code detector_id:key|lane_no:key|free_flow_speed_kmh:number|valid_from:from|valid_to:to}. Kinds are key, text,
 * number, from and to; the keys come first. An empty cell is NULL; no key is empty. Times are ISO 8601 with an offset: from
 * belongs to the time of validity, to does not; without them a row always holds.
 */
final class CodeListRows implements Serializable {

    private static final long serialVersionUID = 1L;

    /** What a column is for. */
    enum Kind {
        KEY,
        TEXT,
        NUMBER,
        FROM,
        TO
    }

    /** A column of the list. */
    record Column(String name, Kind kind) implements Serializable {}

    private record Row(long fromMillis, long toMillis, Object[] values) implements Serializable {}

    private final ArrayList<Column> columns = new ArrayList<>();
    private final HashMap<String, ArrayList<Row>> byKey = new HashMap<>();

    private CodeListRows() {}

    /** Returns the names of the key columns, in their order. */
    List<String> keys() {
        return columns.stream()
                .filter(each -> each.kind() == Kind.KEY)
                .map(Column::name)
                .toList();
    }

    /** Returns the columns that a lookup gives, in their order. */
    List<Column> values() {
        return columns.stream()
                .filter(each -> each.kind() == Kind.TEXT || each.kind() == Kind.NUMBER)
                .toList();
    }

    /** Returns the values of every row with this key, whenever it holds. */
    List<Object[]> all(List<String> key) {
        return byKey.getOrDefault(joined(key), new ArrayList<>()).stream()
                .map(Row::values)
                .toList();
    }

    /** Returns the values (String, Double or NULL each) of every row with this key that holds at this time. */
    List<Object[]> at(List<String> key, long millis) {
        ArrayList<Row> rows = byKey.get(joined(key));
        if (rows == null) {
            return List.of();
        }
        ArrayList<Object[]> found = new ArrayList<>(1);
        for (Row row : rows) {
            if (row.fromMillis <= millis && millis < row.toMillis) {
                found.add(row.values);
            }
        }
        return found;
    }

    /**
     * Parses the lines.
     *
     * @throws IllegalArgumentException naming every wrong line
     */
    static CodeListRows parse(String text) {
        CodeListRows list = new CodeListRows();
        String[] lines = text.split(";");
        List<String> problems = new ArrayList<>();
        for (int i = 0; i < lines.length; i++) {
            String line = lines[i].strip();
            try {
                if (i == 0) {
                    list.readColumns(line.split("\\|", -1));
                } else if (!line.isEmpty()) {
                    list.add(line.split("\\|", -1));
                }
            } catch (IllegalArgumentException | DateTimeException e) {
                problems.add("'" + line + "': " + e.getMessage());
            }
        }
        if (list.byKey.isEmpty() && problems.isEmpty()) {
            problems.add("no row is given");
        }
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException("Wrong code list, expected <column>:<kind>|… and then rows, separated by ';': "
                    + String.join("; ", problems));
        }
        return list;
    }

    private void readColumns(String[] cells) {
        for (String cell : cells) {
            int colon = cell.indexOf(':');
            if (colon <= 0) {
                throw new IllegalArgumentException("'" + cell + "' is not <column>:<kind>");
            }
            Kind kind = Kind.valueOf(cell.substring(colon + 1).toUpperCase(Locale.ROOT));
            boolean isAfterValues = columns.stream().anyMatch(each -> each.kind() != Kind.KEY);
            if (kind == Kind.KEY && isAfterValues) {
                throw new IllegalArgumentException("the key column " + cell + " stands behind other columns");
            }
            columns.add(new Column(cell.substring(0, colon), kind));
        }
    }

    private void add(String[] cells) {
        if (cells.length != columns.size()) {
            throw new IllegalArgumentException(cells.length + " cells instead of " + columns.size());
        }
        List<String> key = new ArrayList<>();
        List<Object> values = new ArrayList<>();
        long from = Long.MIN_VALUE;
        long to = Long.MAX_VALUE;
        for (int i = 0; i < cells.length; i++) {
            Column column = columns.get(i);
            String cell = cells[i];
            if (column.kind() == Kind.KEY) {
                if (cell.isEmpty()) {
                    throw new IllegalArgumentException("the key " + column.name() + " is empty");
                }
                key.add(cell);
            } else if (column.kind() == Kind.FROM) {
                from = cell.isEmpty() ? from : millis(cell);
            } else if (column.kind() == Kind.TO) {
                to = cell.isEmpty() ? to : millis(cell);
            } else {
                values.add(value(column, cell));
            }
        }
        if (from >= to) {
            throw new IllegalArgumentException("its validity ends before it begins");
        }
        byKey.computeIfAbsent(joined(key), unused -> new ArrayList<>())
                .add(new Row(from, to, values.toArray()));
    }

    private static String joined(List<String> key) {
        return String.join("|", key);
    }

    private static Object value(Column column, String cell) {
        if (cell.isEmpty()) {
            return null;
        }
        if (column.kind() == Kind.TEXT) {
            return cell;
        }
        try {
            return Double.valueOf(cell);
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException(column.name() + " is '" + cell + "', which is no number", e);
        }
    }

    private static long millis(String isoTime) {
        return OffsetDateTime.parse(isoTime).toInstant().toEpochMilli();
    }
}
