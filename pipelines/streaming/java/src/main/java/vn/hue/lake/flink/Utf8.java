package vn.hue.lake.flink;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * A strict check of UTF-8. Jackson alone lets overlong forms and surrogates pass, which then turn into question marks,
 * and takes a zero byte near the start for UTF-16.
 */
final class Utf8 {

    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.nativeOrder());
    private static final long HIGH_BITS = 0x8080808080808080L;
    private static final int ENCODING_MARK_LENGTH = 4;

    private Utf8() {}

    /** Whether the bytes are well-formed UTF-8 and not the start of UTF-16 or UTF-32. */
    static boolean isJsonText(byte[] bytes) {
        for (int i = 0; i < Math.min(ENCODING_MARK_LENGTH, bytes.length); i++) {
            if (bytes[i] == 0) {
                return false;
            }
        }
        return isAscii(bytes) || isWellFormed(bytes);
    }

    private static boolean isAscii(byte[] bytes) {
        int i = 0;
        for (; i + Long.BYTES <= bytes.length; i += Long.BYTES) {
            if (((long) LONGS.get(bytes, i) & HIGH_BITS) != 0) {
                return false;
            }
        }
        for (; i < bytes.length; i++) {
            if (bytes[i] < 0) {
                return false;
            }
        }
        return true;
    }

    private static boolean isWellFormed(byte[] bytes) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
            return true;
        } catch (CharacterCodingException e) {
            return false;
        }
    }
}
