package vn.hue.lake.flink;

import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.TimestampData;

/** A growing buffer of UTF-8 to which JSON values are written; reused from record to record. */
final class JsonOutput {

    private static final int FIRST_CAPACITY = 512;
    private static final int TIME_MAX_LENGTH = 19;
    private static final int LONG_MAX_LENGTH = 20;
    private static final long MILLIS_PER_DAY = 86_400_000L;
    private static final int NANOS_PER_MILLI = 1_000_000;
    private static final byte[] HEX = "0123456789ABCDEF".getBytes(StandardCharsets.US_ASCII);

    private byte[] buffer = new byte[FIRST_CAPACITY];
    private int length;
    /** Readings of one day come together: its text is made once. */
    private long lastDay = Long.MIN_VALUE;
    private byte[] lastDayText = {};

    void clear() {
        length = 0;
    }

    byte[] toBytes() {
        return Arrays.copyOf(buffer, length);
    }

    void ascii(char character) {
        reserve(1);
        buffer[length++] = (byte) character;
    }

    void ascii(String text) {
        bytes(text.getBytes(StandardCharsets.US_ASCII));
    }

    void bytes(byte[] bytes) {
        reserve(bytes.length);
        System.arraycopy(bytes, 0, buffer, length, bytes.length);
        length += bytes.length;
    }

    /** Writes a string in quotes; the bytes are UTF-8. */
    void quoted(byte[] text) {
        reserve(text.length + 2);
        buffer[length++] = '"';
        int copied = 0;
        for (int i = 0; i < text.length; i++) {
            byte b = text[i];
            if (b == '"' || b == '\\' || (b >= 0 && b < ' ')) {
                reserve(text.length - copied + 8);
                System.arraycopy(text, copied, buffer, length, i - copied);
                length += i - copied;
                copied = i + 1;
                escaped(b);
            }
        }
        reserve(text.length - copied + 1);
        System.arraycopy(text, copied, buffer, length, text.length - copied);
        length += text.length - copied;
        buffer[length++] = '"';
    }

    private void escaped(byte b) {
        buffer[length++] = '\\';
        switch (b) {
            case '"', '\\' -> buffer[length++] = b;
            case '\b' -> buffer[length++] = 'b';
            case '\t' -> buffer[length++] = 't';
            case '\n' -> buffer[length++] = 'n';
            case '\f' -> buffer[length++] = 'f';
            case '\r' -> buffer[length++] = 'r';
            default -> {
                buffer[length++] = 'u';
                buffer[length++] = '0';
                buffer[length++] = '0';
                buffer[length++] = HEX[b >> 4];
                buffer[length++] = HEX[b & 0xF];
            }
        }
    }

    void integer(long value) {
        if (value == Long.MIN_VALUE) {
            ascii(Long.toString(value));
            return;
        }
        reserve(LONG_MAX_LENGTH);
        if (value < 0) {
            buffer[length++] = '-';
        }
        long rest = Math.abs(value);
        int digits = 1;
        for (long power = 10; digits < LONG_MAX_LENGTH - 1 && rest >= power; power *= 10) {
            digits++;
        }
        padded(rest, digits);
    }

    /** Writes the number plainly, without an exponent and with all decimals of its type. */
    void decimal(DecimalData decimal) {
        if (!decimal.isCompact()) {
            ascii(decimal.toBigDecimal().toPlainString());
            return;
        }
        long unscaled = decimal.toUnscaledLong();
        int scale = decimal.scale();
        if (scale == 0) {
            integer(unscaled);
            return;
        }
        if (unscaled < 0) {
            ascii('-');
            unscaled = -unscaled;
        }
        long unit = Numbers.powerOfTen(scale);
        integer(unscaled / unit);
        reserve(scale + 1);
        buffer[length++] = '.';
        padded(unscaled % unit, scale);
    }

    /** Writes the shortest decimal form as Java does; what JSON has no number for stands in quotes. */
    void floating(String text, boolean isFinite) {
        if (isFinite) {
            ascii(text);
        } else {
            quoted(text.getBytes(StandardCharsets.US_ASCII));
        }
    }

    /** Writes a day as {@code "2025-10-27"}. */
    void date(long epochDay) {
        ascii('"');
        day(epochDay);
        ascii('"');
    }

    /** Writes {@code "2025-10-27T13:00:00.5"}, with as many decimals as there are, and a closing Z if zoned. */
    void timestamp(TimestampData time, boolean zoned) {
        long millis = time.getMillisecond();
        int ofDay = (int) Math.floorMod(millis, MILLIS_PER_DAY);
        ascii('"');
        day(Math.floorDiv(millis, MILLIS_PER_DAY));
        reserve(TIME_MAX_LENGTH + 2);
        buffer[length++] = 'T';
        padded(ofDay / 3_600_000, 2);
        buffer[length++] = ':';
        padded(ofDay / 60_000 % 60, 2);
        buffer[length++] = ':';
        padded(ofDay / 1000 % 60, 2);
        int nanos = ofDay % 1000 * NANOS_PER_MILLI + time.getNanoOfMillisecond();
        if (nanos != 0) {
            int decimals = 9;
            while (nanos % 10 == 0) {
                nanos /= 10;
                decimals--;
            }
            buffer[length++] = '.';
            padded(nanos, decimals);
        }
        if (zoned) {
            buffer[length++] = 'Z';
        }
        buffer[length++] = '"';
    }

    private void day(long epochDay) {
        if (epochDay != lastDay) {
            LocalDate date = LocalDate.ofEpochDay(epochDay);
            lastDayText = date.format(DateTimeFormatter.ISO_LOCAL_DATE).getBytes(StandardCharsets.US_ASCII);
            lastDay = epochDay;
        }
        bytes(lastDayText);
    }

    /** Writes exactly so many digits; the caller has reserved them. */
    private void padded(long value, int digits) {
        long rest = value;
        for (int i = length + digits - 1; i >= length; i--) {
            buffer[i] = (byte) ('0' + rest % 10);
            rest /= 10;
        }
        length += digits;
    }

    private void reserve(int count) {
        if (buffer.length - length < count) {
            buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, length + count));
        }
    }
}
