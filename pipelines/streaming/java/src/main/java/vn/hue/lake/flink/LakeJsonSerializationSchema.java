package vn.hue.lake.flink;

import java.util.Objects;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;

/** One record out for every row in; the work is done by {@link LakeJsonEncoder}. */
final class LakeJsonSerializationSchema implements SerializationSchema<RowData> {

    private static final long serialVersionUID = 1L;

    private final RowType rowType;
    private transient LakeJsonEncoder encoder;

    LakeJsonSerializationSchema(RowType rowType) {
        this.rowType = Objects.requireNonNull(rowType, "rowType");
    }

    @Override
    public void open(InitializationContext context) {
        encoder = new LakeJsonEncoder(rowType);
    }

    @Override
    public byte[] serialize(RowData row) {
        return encoder.encode(row);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof LakeJsonSerializationSchema that && rowType.equals(that.rowType);
    }

    @Override
    public int hashCode() {
        return Objects.hash(rowType);
    }
}
