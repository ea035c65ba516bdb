package vn.hue.lake.flink;

import java.nio.ByteBuffer;

/**
 * Decides whether a row is the first of its key, a repetition or a correction. Plain Java: no clock, no Flink.
 *
 * <p>A key's first row, or one that arrives more than {@code horizonMillis} after it, is accepted and starts the memory
 * anew. Otherwise, by the source's revision number:
 *
 * <ul>
 *   <li>lower than the latest: {@code duplicate} (the source itself has replaced it);
 *   <li>equal: {@code duplicate} if this content came before at this revision, else {@code corrected};
 *   <li>higher: {@code duplicate} if the content is still the latest one, else {@code corrected}.
 * </ul>
 *
 * <p>Ages are differences of arrival clocks, never of the machine's: a rebuild from the raw topic decides the same.
 */
final class DispositionLogic {

    /** What became of a row. */
    enum Disposition {
        ON_TIME("on_time"),
        LATE("late"),
        CORRECTED("corrected"),
        DUPLICATE("duplicate");

        private final String text;

        Disposition(String text) {
            this.text = text;
        }

        String text() {
            return text;
        }
    }

    /** What is remembered of a key; public fields as Flink's state wants them. All NULL: never seen. */
    public static class State {
        /** The highest revision seen. */
        public Integer revision;
        /** The arrival clock of the first row, milliseconds since 1970. */
        public Long firstSeenMillis;
        /** Hashes of the contents seen at the highest revision, eight bytes each, the latest last. */
        public byte[] contents;
    }

    /** More contents of one revision than any source sends on purpose; the oldest is forgotten. */
    static final int MAX_CONTENTS = 16;

    private DispositionLogic() {}

    /** Classifies one row and updates the state. */
    static Disposition decide(
            State state, int revision, long content, long receivedAtMillis, boolean isLate, long horizonMillis) {
        if (state.firstSeenMillis == null || receivedAtMillis - state.firstSeenMillis > horizonMillis) {
            state.firstSeenMillis = receivedAtMillis;
            remember(state, revision, content);
            return isLate ? Disposition.LATE : Disposition.ON_TIME;
        }
        if (revision < state.revision) {
            return Disposition.DUPLICATE;
        }
        if (revision > state.revision) {
            boolean isUnchanged = latest(state.contents) == content;
            remember(state, revision, content);
            return isUnchanged ? Disposition.DUPLICATE : Disposition.CORRECTED;
        }
        if (contains(state.contents, content)) {
            return Disposition.DUPLICATE;
        }
        state.contents = append(state.contents, content);
        return Disposition.CORRECTED;
    }

    private static void remember(State state, int revision, long content) {
        state.revision = revision;
        state.contents = ByteBuffer.allocate(Long.BYTES).putLong(content).array();
    }

    private static long latest(byte[] contents) {
        return ByteBuffer.wrap(contents).getLong(contents.length - Long.BYTES);
    }

    private static boolean contains(byte[] contents, long content) {
        ByteBuffer seen = ByteBuffer.wrap(contents);
        while (seen.hasRemaining()) {
            if (seen.getLong() == content) {
                return true;
            }
        }
        return false;
    }

    /** A new array: the framework compares the state with what it read, to write only what changed. */
    private static byte[] append(byte[] contents, long content) {
        int kept = Math.min(contents.length, (MAX_CONTENTS - 1) * Long.BYTES);
        return ByteBuffer.allocate(kept + Long.BYTES)
                .put(contents, contents.length - kept, kept)
                .putLong(content)
                .array();
    }
}
