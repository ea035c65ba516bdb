package vn.hue.lake.flink;

import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.Projection;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;

/** Checks a table's columns when the job is planned and makes the decoder for the projected ones. */
final class LakeJsonDecodingFormat implements ProjectableDecodingFormat<DeserializationSchema<RowData>> {

    @Override
    public DeserializationSchema<RowData> createRuntimeDecoder(
            DynamicTableSource.Context context, DataType physicalDataType, int[][] projections) {
        DataType produced = Projection.of(projections).project(physicalDataType);
        RowType rowType = (RowType) produced.getLogicalType();
        rowType.getFields().forEach(LakeJsonDecodingFormat::check);
        return new LakeJsonDeserializationSchema(rowType, context.createTypeInformation(produced));
    }

    private static void check(RowType.RowField field) {
        String name = field.getName();
        LogicalType type = field.getType();
        if (name.equals(LakeJsonDecoder.RAW_COLUMN) && !type.is(LogicalTypeRoot.VARBINARY)) {
            throw new ValidationException("lake-json: column _raw has type " + type + "; declare it BYTES.");
        }
        if (name.equals(LakeJsonDecoder.ERROR_COLUMN) && !type.is(LogicalTypeRoot.VARCHAR)) {
            throw new ValidationException("lake-json: column _err has type " + type + "; declare it STRING.");
        }
        if (!type.isNullable()) {
            throw new ValidationException(
                    "lake-json: column " + name + " is NOT NULL, but every column is NULL in the row of a record that"
                            + " cannot be used; declare it nullable and check _err.");
        }
        if (!FieldDecoders.supports(type)) {
            throw new ValidationException(
                    "lake-json: column " + name + " has type " + type + "; records are flat and hold "
                            + FieldDecoders.SUPPORTED + ".");
        }
    }

    @Override
    public boolean supportsNestedProjection() {
        return false;
    }

    @Override
    public ChangelogMode getChangelogMode() {
        return ChangelogMode.insertOnly();
    }
}
