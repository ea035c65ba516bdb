package vn.hue.lake.flink;

import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.EncodingFormat;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;

/** Checks a sink's columns when the job is planned and makes its encoder. */
final class LakeJsonEncodingFormat implements EncodingFormat<SerializationSchema<RowData>> {

    @Override
    public SerializationSchema<RowData> createRuntimeEncoder(DynamicTableSink.Context context, DataType consumed) {
        RowType rowType = (RowType) consumed.getLogicalType();
        for (RowType.RowField field : rowType.getFields()) {
            if (!FieldDecoders.supports(field.getType())) {
                throw new ValidationException("lake-json: column " + field.getName() + " has type " + field.getType()
                        + "; records are flat and hold " + FieldDecoders.SUPPORTED + ".");
            }
        }
        return new LakeJsonSerializationSchema(rowType);
    }

    @Override
    public ChangelogMode getChangelogMode() {
        return ChangelogMode.insertOnly();
    }
}
