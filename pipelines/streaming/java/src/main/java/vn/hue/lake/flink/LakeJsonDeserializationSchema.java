package vn.hue.lake.flink;

import java.util.Objects;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.util.Collector;

/** One row out for every record in; the work is done by {@link LakeJsonDecoder}. */
final class LakeJsonDeserializationSchema implements DeserializationSchema<RowData> {

    private static final long serialVersionUID = 1L;

    private final RowType rowType;
    private final TypeInformation<RowData> producedType;
    private transient LakeJsonDecoder decoder;

    LakeJsonDeserializationSchema(RowType rowType, TypeInformation<RowData> producedType) {
        this.rowType = Objects.requireNonNull(rowType, "rowType");
        this.producedType = Objects.requireNonNull(producedType, "producedType");
    }

    @Override
    public void open(InitializationContext context) {
        decoder = new LakeJsonDecoder(rowType);
    }

    @Override
    public void deserialize(byte[] message, Collector<RowData> out) {
        out.collect(decoder.decode(message));
    }

    @Override
    public RowData deserialize(byte[] message) {
        return decoder.decode(message);
    }

    @Override
    public boolean isEndOfStream(RowData nextElement) {
        return false;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return producedType;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof LakeJsonDeserializationSchema that
                && rowType.equals(that.rowType)
                && producedType.equals(that.producedType);
    }

    @Override
    public int hashCode() {
        return Objects.hash(rowType, producedType);
    }
}
