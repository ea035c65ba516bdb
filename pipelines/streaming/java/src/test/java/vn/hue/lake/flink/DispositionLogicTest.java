package vn.hue.lake.flink;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.DoubleType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LocalZonedTimestampType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.VarCharType;
import org.junit.jupiter.api.Test;

class DispositionLogicTest {

    private static final long HOUR = 3_600_000L;
    private static final long HORIZON = 24 * HOUR;

    private static final long MORNING = 1_761_570_000_000_000L;

    private final DispositionLogic.Memory memory = new DispositionLogic.Memory(null);

    private String send(int revision, long content, long receivedAt, boolean late) {
        return send(MORNING, revision, content, receivedAt, late);
    }

    private String send(long instant, int revision, long content, long receivedAt, boolean late) {
        return DispositionLogic.decide(memory, instant, revision, content, receivedAt, late, HORIZON).text();
    }

    private String send(int revision, long content) {
        return send(revision, content, HOUR, false);
    }

    @Test
    void firstSightIsOnTimeOrLate() {
        assertEquals("on_time", send(0, 1));
        memory.readings = new byte[0];
        assertEquals("late", send(0, 1, HOUR, true));
    }

    @Test
    void sameRevision() {
        assertEquals("on_time", send(0, 1));
        assertEquals("duplicate", send(0, 1));
        assertEquals("corrected", send(0, 2));
        assertEquals("duplicate", send(0, 2));
        assertEquals("duplicate", send(0, 1), "a repetition of the first message corrects nothing");
    }

    @Test
    void higherRevision() {
        assertEquals("on_time", send(0, 1));
        assertEquals("corrected", send(2, 2));
        assertEquals("duplicate", send(1, 3), "stale");
        assertEquals("duplicate", send(3, 2), "the latest content under a new number");
        assertEquals("duplicate", send(2, 9), "stale since revision 3");
        assertEquals("corrected", send(3, 1), "new at revision 3, although seen at revision 0");
    }

    @Test
    void lateCorrectionsAndDuplicatesAreNotCalledLate() {
        assertEquals("on_time", send(0, 1));
        assertEquals("duplicate", send(0, 1, 2 * HOUR, true));
        assertEquals("corrected", send(0, 2, 2 * HOUR, true));
    }

    @Test
    void theHorizonIsMeasuredByTheArrivalClockFromTheFirstSight() {
        assertEquals("on_time", send(5, 1, 0, false));
        assertEquals("duplicate", send(5, 1, HORIZON, true), "exactly at the horizon");
        assertEquals("late", send(0, 1, HORIZON + 1, true), "forgotten, revision too");
        assertEquals("duplicate", send(0, 1, HORIZON + 2, true));
        assertEquals("duplicate", send(0, 1, -HOUR, false), "an arrival clock that runs back is no expiry");
    }

    @Test
    void contentsAreBounded() {
        send(0, 0);
        for (int content = 1; content <= DispositionLogic.MAX_CONTENTS; content++) {
            assertEquals("corrected", send(0, content));
        }
        assertEquals(DispositionLogic.MAX_CONTENTS, memory.size());
        assertEquals("duplicate", send(0, 1));
        assertEquals("corrected", send(0, 0), "the oldest is forgotten");
    }

    @Test
    void duplicatesLeaveTheStateAsItIs() {
        send(0, 1);
        byte[] readings = memory.readings;
        send(0, 1, 5 * HOUR, true);
        assertSame(readings, memory.readings);
    }

    @Test
    void anArrayThatWasReadIsNotChanged() {
        send(0, 1);
        send(MORNING + 1, 0, 1, HOUR, false);
        for (int content = 2; content <= DispositionLogic.MAX_CONTENTS + 1; content++) {
            byte[] before = memory.readings;
            byte[] copy = before.clone();
            assertEquals("corrected", send(0, content));
            assertArrayEquals(copy, before);
        }
        byte[] before = memory.readings;
        byte[] copy = before.clone();
        assertEquals("corrected", send(7, 1));
        assertArrayEquals(copy, before);
    }

    /** What is said of a reading does not depend on the others that share its state. */
    @Test
    void readingsOfOneStateAreToldApart() {
        Random chance = new Random(334);
        for (int round = 0; round < 50; round++) {
            DispositionLogic.Memory shared = new DispositionLogic.Memory(null);
            Map<Long, DispositionLogic.Memory> alone = new HashMap<>();
            for (int row = 0; row < 400; row++) {
                long instant = MORNING + chance.nextInt(8);
                int revision = chance.nextInt(3);
                long content = chance.nextInt(20);
                long receivedAt = row * HOUR / 4;
                boolean late = chance.nextBoolean();
                assertEquals(
                        DispositionLogic.decide(
                                alone.computeIfAbsent(instant, key -> new DispositionLogic.Memory(null)),
                                instant, revision, content, receivedAt, late, HORIZON),
                        DispositionLogic.decide(shared, instant, revision, content, receivedAt, late, HORIZON));
                assertTrue(shared.knows(instant));
            }
            int entries = alone.values().stream().mapToInt(DispositionLogic.Memory::size).sum();
            assertEquals(entries, shared.size());
        }
    }

    /** Even when a replaced content makes room: who was sent elsewhere is not known here. */
    @Test
    void aCrowdedMemoryStaysCrowdedAndKeepsWhatItKnows() {
        for (int content = 0; content < 4; content++) {
            send(0, content);
        }
        for (int n = 1; memory.size() < DispositionLogic.CROWD; n++) {
            assertFalse(memory.isCrowded());
            assertEquals("on_time", send(MORNING + n, 0, 1, HOUR, false));
        }
        assertTrue(memory.isCrowded());
        assertEquals("corrected", send(1, 9));
        assertEquals(DispositionLogic.CROWD - 3, memory.size());
        assertTrue(memory.isCrowded());
        assertEquals("duplicate", send(1, 9));
        assertEquals("duplicate", send(MORNING + 1, 0, 1, HOUR, false));
        assertEquals("corrected", send(MORNING + 1, 0, 2, HOUR, false));
        assertFalse(memory.knows(MORNING - 1));
        assertTrue(new DispositionLogic.Memory(memory.readings).isCrowded());
    }

    private static final LogicalType[] TYPES = {
        new VarCharType(), new DecimalType(9, 3), new IntType(), new DoubleType(), new LocalZonedTimestampType(6)
    };

    private static long hash(Object... values) {
        return new ContentHash(new int[] {0, 1, 2, 3, 4}, TYPES).of(GenericRowData.of(values));
    }

    @Test
    void equalContentsHaveEqualHashes() {
        TimestampData time = TimestampData.fromEpochMillis(1, 2000);
        DecimalData stage = DecimalData.fromUnscaledLong(1750, 9, 3);
        StringData name = StringData.fromString("Kim Long, cửa sông");
        long expected = hash(name, stage, 3, 0.0, time);
        assertEquals(expected, hash(StringData.fromString("Kim Long, cửa sông"), stage, 3, -0.0, time));
        assertNotEquals(expected, hash(StringData.fromString("Kim Long, cửa sônG"), stage, 3, 0.0, time));
        assertNotEquals(expected, hash(name, DecimalData.fromUnscaledLong(1751, 9, 3), 3, 0.0, time));
        assertNotEquals(expected, hash(name, stage, 3, 0.0, TimestampData.fromEpochMillis(1, 3000)));
        assertNotEquals(expected, hash(name, stage, null, 0.0, time));
        assertNotEquals(hash(name, null, 0, 0.0, time), hash(name, stage, null, 0.0, time));
        assertNotEquals(hash(null, null, 0, null, null), hash(null, null, null, null, null));
    }

    /** The hash lies in checkpoints: this value may never change. */
    @Test
    void theHashIsStable() {
        assertEquals(
                -8222458529618518287L,
                hash(
                        StringData.fromString("71520"),
                        DecimalData.fromUnscaledLong(5050, 9, 3),
                        1,
                        2.5,
                        TimestampData.fromEpochMillis(1_761_570_000_000L)));
    }

    @Test
    void typesWithoutAnOrderOfBytesAreRefused() {
        assertThrows(ValidationException.class, () -> ContentHash.check("tags", new ArrayType(new IntType())));
    }
}
