package vn.hue.lake.scenario.job;

import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.util.Collector;
import vn.hue.lake.scenario.Fact;
import vn.hue.lake.scenario.FlatJson;
import vn.hue.lake.scenario.Row;

/** Kafka records to and from what the job works with. */
final class Formats {

    private Formats() {}

    /** A fact, undecoded. One without an arrival clock of its own has that of its record. */
    static final class Facts implements KafkaRecordDeserializationSchema<Fact> {

        private static final long serialVersionUID = 1L;
        private final int prefixLength;

        Facts(String prefix) {
            prefixLength = prefix.length();
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Fact> out) {
            if (record.value() == null) {
                return;
            }
            Long received = FlatJson.receivedMillis(record.value());
            out.collect(new Fact(
                    record.topic().substring(prefixLength),
                    record.partition(),
                    record.offset(),
                    received == null ? record.timestamp() : received,
                    record.value()));
        }

        @Override
        public TypeInformation<Fact> getProducedType() {
            return TypeInformation.of(Fact.class);
        }
    }

    /** A record of the topic of rules. */
    static final class Rules implements KafkaRecordDeserializationSchema<RuleRecord> {

        private static final long serialVersionUID = 1L;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<RuleRecord> out) {
            out.collect(RuleTopic.of(record));
        }

        @Override
        public TypeInformation<RuleRecord> getProducedType() {
            return TypeInformation.of(RuleRecord.class);
        }
    }

    /** A row to the topic that it names. */
    static final class Rows implements KafkaRecordSerializationSchema<Row> {

        private static final long serialVersionUID = 1L;
        private final String prefix;

        Rows(String prefix) {
            this.prefix = prefix;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Row row, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(prefix + row.topic, row.key.getBytes(StandardCharsets.UTF_8), row.value);
        }
    }
}
