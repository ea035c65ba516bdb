package vn.hue.lake.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FlatJsonTest {

    private static byte[] bytes(String json) {
        return json.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{'received_at':'2025-10-27T13:00:00.5Z'}",
                "{'id':'k','received_at':'2025-10-27T13:00:00.500Z','raw_offset':3}",
                "{'text':'\\'received_at\\':\\'2020-01-01T00:00:00Z\\'','received_at':'2025-10-27T13:00:00.5Z','x':'ạ'}",
            })
    void theArrivalClockIsFoundWithoutDecoding(String json) {
        String escaped = json.replace("\\'", "\u0000").replace('\'', '"').replace("\u0000", "\\\"");
        Long found = FlatJson.receivedMillis(escaped.getBytes(StandardCharsets.UTF_8));
        assertEquals(Instant.parse("2025-10-27T13:00:00.500Z").toEpochMilli(), found);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "{}", "{'received_at':null}", "{'received_at':'soon'}", "{'received_at':'", "'received_at':'2025"})
    void aRecordWithoutOneHasNone(String json) {
        assertNull(FlatJson.receivedMillis(bytes(json)));
    }

    @Test
    void onlyWhatIsWantedAndKnownIsRead() throws IOException {
        byte[] json = bytes("{'a':1.50,'b':null,'c':'ạ','d':true,'e':{'a':2},'f':[1],'g':7}");
        Set<String> wanted = Set.of("a", "b", "c", "d", "e", "f", "h");
        assertEquals(Map.of("a", "1.50", "c", "ạ", "d", "true"), FlatJson.read(json, wanted));
        assertThrows(IOException.class, () -> FlatJson.read(bytes("[1]"), wanted));
        assertThrows(IOException.class, () -> FlatJson.read(bytes("{'a':"), wanted));
    }
}
