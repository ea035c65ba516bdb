package vn.hue.lake.flink;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * How deep the streets of a ward stand in water at each moment at which one of its sites reports. Plain Java: no clock,
 * no Flink.
 *
 * <p>A site is live at a time if its newest reading is younger than {@code liveMillis} and usable; a moment's row is made
 * of the newest reading of each live site. A reading that comes late, or corrects another, makes the rows of the moments
 * in which it is the newest of its site anew. One older than the newest by more than {@code lateMillis} changes nothing.
 */
final class UrbanDepthLogic {

    private static final int DEPTH = 0;

    /** What is remembered of a ward; public fields as Flink's state wants them. */
    public static class State {
        /** The readings, tagged with the position of their site, see {@link Series}. */
        public long[] readings;
        /** The sites in the order in which they first reported. */
        public String[] sites = new String[0];
    }

    /** One row: depths as unscaled numbers, NULL and no site while no site is live. */
    record Row(
            long observedAtMillis,
            Long maxDepth,
            Double meanDepth,
            String deepestSite,
            int liveSites,
            int origin,
            long receivedAtMillis) {}

    private final long liveMillis;
    private final long lateMillis;

    UrbanDepthLogic(long liveMillis, long lateMillis) {
        this.liveMillis = liveMillis;
        this.lateMillis = lateMillis;
    }

    /** Takes a reading in and returns the rows that it makes or changes, in the order of event time. */
    List<Row> evaluate(State state, String siteId, long observedAt, long depth, long receivedAt, int origin) {
        Series series = new Series(state.readings, 1);
        if (series.size() > 0 && observedAt < series.newest() - lateMillis) {
            return List.of();
        }
        int site = Arrays.asList(state.sites).indexOf(siteId);
        String[] sites = site < 0 ? appended(state.sites, siteId) : state.sites;
        if (!series.put(observedAt, site < 0 ? sites.length - 1 : site, receivedAt, origin, depth)) {
            return List.of();
        }
        series.removeFirst(series.expired(series.newest() - lateMillis - liveMillis));
        state.readings = series.cells();
        state.sites = sites;
        List<Row> rows = new ArrayList<>();
        int i = series.indexFrom(observedAt);
        while (i < series.size() && series.time(i) < observedAt + liveMillis) {
            int after = series.indexFrom(series.time(i) + 1);
            rows.add(row(series, after, sites));
            i = after;
        }
        return rows;
    }

    /** The row of the moment whose last reading stands before {@code end}. */
    private Row row(Series series, int end, String[] sites) {
        long now = series.time(end - 1);
        boolean[] isSeen = new boolean[sites.length];
        int origin = 0;
        long received = Long.MIN_VALUE;
        int live = 0;
        long sum = 0;
        long deepest = Series.MISSING;
        String deepestSite = null;
        for (int i = end - 1; i >= 0 && series.time(i) > now - liveMillis; i--) {
            origin |= series.origin(i);
            received = Math.max(received, series.received(i));
            int site = (int) series.tag(i);
            long depth = series.value(i, DEPTH);
            if (isSeen[site]) {
                continue;
            }
            isSeen[site] = true;
            if (depth == Series.MISSING) {
                continue;
            }
            live++;
            sum += depth;
            // Of two equally deep sites the one whose name comes first, whichever reported first.
            if (depth > deepest || (depth == deepest && sites[site].compareTo(deepestSite) < 0)) {
                deepest = depth;
                deepestSite = sites[site];
            }
        }
        return new Row(
                now,
                live == 0 ? null : deepest,
                live == 0 ? null : (double) sum / live,
                deepestSite,
                live,
                origin,
                received);
    }

    private static String[] appended(String[] sites, String siteId) {
        String[] longer = Arrays.copyOf(sites, sites.length + 1);
        longer[sites.length] = siteId;
        return longer;
    }
}
