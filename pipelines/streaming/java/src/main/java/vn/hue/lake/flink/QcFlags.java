package vn.hue.lake.flink;

/** The aggregated flags of quality control (QARTOD) as far as functions ask for them. */
final class QcFlags {

    private static final int FAIL = 4;
    private static final int MISSING = 9;

    private QcFlags() {}

    /** Whether a reading may be evaluated: not failed and not missing; without a flag it may. */
    static boolean isUsable(Integer flag) {
        return flag == null || (flag != FAIL && flag != MISSING);
    }
}
