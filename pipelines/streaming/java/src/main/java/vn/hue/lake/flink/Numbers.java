package vn.hue.lake.flink;

import static vn.hue.lake.flink.FieldDecoder.Fault.OVERFLOW;
import static vn.hue.lake.flink.FieldDecoder.Fault.TYPE;

import java.math.BigDecimal;
import org.apache.flink.table.data.DecimalData;

/** Numbers from untrusted text: no rounding of integers, no exponent that takes the machine's memory. */
final class Numbers {

    /** Longer numbers are no measurement; Jackson has the same limit for number tokens. */
    private static final int MAX_TEXT_LENGTH = 1000;
    /** Beyond the range of a double and of any decimal. */
    private static final int MAX_EXPONENT = 400;
    private static final int MAX_SHORT_DIGITS = 18;
    private static final long[] POWERS_OF_TEN = new long[MAX_SHORT_DIGITS + 1];

    static {
        POWERS_OF_TEN[0] = 1;
        for (int i = 1; i < POWERS_OF_TEN.length; i++) {
            POWERS_OF_TEN[i] = POWERS_OF_TEN[i - 1] * 10;
        }
    }

    private Numbers() {}

    /** Returns 10 to the power of {@code exponent}, 0 to 18. */
    static long powerOfTen(int exponent) {
        return POWERS_OF_TEN[exponent];
    }

    /** Parses a decimal number with an optional exponent, or returns null. */
    static BigDecimal parse(String text) {
        String trimmed = text.trim();
        if (trimmed.isEmpty() || trimmed.length() > MAX_TEXT_LENGTH) {
            return null;
        }
        try {
            return new BigDecimal(trimmed);
        } catch (NumberFormatException e) {
            return null;
        }
    }

    static boolean isIntegral(BigDecimal number) {
        if (number.signum() == 0 || number.scale() <= 0) {
            return true;
        }
        // A scale above the number of digits leaves a fraction; asked first, since stripping 1e-999999999 is slow.
        return number.scale() <= number.precision() && number.stripTrailingZeros().scale() <= 0;
    }

    static boolean fitsLong(BigDecimal integral) {
        if (integral.signum() == 0) {
            return true;
        }
        // An exponent of 18 holds up to 9999999999999999999, just above Long.MAX_VALUE.
        return exponent(integral) <= 18 && integral.toBigInteger().bitLength() <= 63;
    }

    static double toDouble(BigDecimal number) {
        if (number.signum() == 0 || exponent(number) < -MAX_EXPONENT) {
            return 0.0;
        }
        return exponent(number) > MAX_EXPONENT ? Double.POSITIVE_INFINITY : number.doubleValue();
    }

    /** Rounds half up to the scale, as Flink does; OVERFLOW where Flink would give NULL, TYPE where no number is. */
    static Object decimal(String text, int precision, int scale) {
        BigDecimal number = parse(text);
        if (number == null) {
            return TYPE;
        }
        if (number.signum() == 0 || exponent(number) < -MAX_EXPONENT) {
            return DecimalData.zero(precision, scale);
        }
        if (exponent(number) > MAX_EXPONENT) {
            return OVERFLOW;
        }
        DecimalData value = DecimalData.fromBigDecimal(number, precision, scale);
        return value == null ? OVERFLOW : value;
    }

    /**
     * The decimal of a number with at most 18 digits, {@code decimals} of them behind the point; OVERFLOW if the type
     * cannot hold it. Null if it must be rounded or the type is a long one: then {@link #decimal} decides.
     */
    static Object ofDigits(long unscaled, int decimals, int precision, int scale) {
        int missing = scale - decimals;
        if (precision > MAX_SHORT_DIGITS || missing < 0) {
            return null;
        }
        if (Math.abs(unscaled) >= POWERS_OF_TEN[precision - missing]) {
            return OVERFLOW;
        }
        return DecimalData.fromUnscaledLong(unscaled * POWERS_OF_TEN[missing], precision, scale);
    }

    /** The power of ten of the first digit. In long arithmetic: the scale may be near the end of the int range. */
    private static long exponent(BigDecimal number) {
        return (long) number.precision() - number.scale() - 1;
    }
}
