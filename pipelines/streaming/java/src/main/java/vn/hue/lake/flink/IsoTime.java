package vn.hue.lake.flink;

import java.time.DateTimeException;
import java.time.LocalDate;
import org.apache.flink.table.data.TimestampData;

/**
 * ISO 8601 dates and times as the wire format writes them, some ten times faster than a DateTimeFormatter.
 *
 * <p>Dates are {@code 2025-10-27}; times {@code 2025-10-27T13:00}, with optional seconds and one to nine decimals, and a
 * closing {@code Z} exactly if the column is zoned. Other offsets are refused: the gateway normalises them.
 */
public final class IsoTime {

    private static final long MILLIS_PER_DAY = 86_400_000L;
    private static final int[] NANOS_PER_UNIT = {
        1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1
    };
    private static final int DATE_LENGTH = 10;
    private static final int MINUTES_END = 16;
    private static final int SECONDS_END = 19;

    private IsoTime() {}

    /** Returns the days since 1970-01-01, or null if the text (UTF-8) is no date. */
    static Integer date(byte[] text, int offset, int length) {
        return length == DATE_LENGTH ? epochDay(text, offset) : null;
    }

    /** Returns the timestamp cut to the column's precision (0 to 9), or null if the text is none. */
    public static TimestampData timestamp(byte[] text, int offset, int length, int precision, boolean zoned) {
        int end = length;
        if (zoned) {
            if (length == 0 || text[offset + length - 1] != 'Z') {
                return null;
            }
            end--;
        }
        if (end < MINUTES_END || text[offset + DATE_LENGTH] != 'T' || text[offset + 13] != ':') {
            return null;
        }
        int hour = number(text, offset + 11, 2);
        int minute = number(text, offset + 14, 2);
        int second = 0;
        int nanos = 0;
        if (end > MINUTES_END) {
            if (end < SECONDS_END || text[offset + MINUTES_END] != ':') {
                return null;
            }
            second = number(text, offset + 17, 2);
            if (end > SECONDS_END) {
                int decimals = end - SECONDS_END - 1;
                if (text[offset + SECONDS_END] != '.' || decimals < 1 || decimals > 9) {
                    return null;
                }
                nanos = number(text, offset + SECONDS_END + 1, decimals);
                if (nanos < 0) {
                    return null;
                }
                nanos *= NANOS_PER_UNIT[decimals];
                nanos -= nanos % NANOS_PER_UNIT[precision];
            }
        }
        Integer day = epochDay(text, offset);
        if (day == null || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) {
            return null;
        }
        long millis = day * MILLIS_PER_DAY + ((hour * 60L + minute) * 60 + second) * 1000 + nanos / 1_000_000;
        return TimestampData.fromEpochMillis(millis, nanos % 1_000_000);
    }

    private static Integer epochDay(byte[] text, int offset) {
        int year = number(text, offset, 4);
        int month = number(text, offset + 5, 2);
        int day = number(text, offset + 8, 2);
        if (year < 0 || month < 0 || day < 0 || text[offset + 4] != '-' || text[offset + 7] != '-') {
            return null;
        }
        try {
            return (int) LocalDate.of(year, month, day).toEpochDay();
        } catch (DateTimeException e) {
            return null;
        }
    }

    /** Returns the digits' value, or -1 if one of them is no digit. */
    private static int number(byte[] text, int offset, int digits) {
        int value = 0;
        for (int i = offset; i < offset + digits; i++) {
            int digit = text[i] - '0';
            if (digit < 0 || digit > 9) {
                return -1;
            }
            value = value * 10 + digit;
        }
        return value;
    }
}
