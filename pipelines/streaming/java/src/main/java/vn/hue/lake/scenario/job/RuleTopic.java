package vn.hue.lake.scenario.job;

import java.io.IOException;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import vn.hue.lake.scenario.RuleBook;

/**
 * The compacted topic {@code scenario.rule}: one partition, the scenario as key.
 *
 * <p>An operator that needs the rules reads the whole topic when it opens, before its first fact: a stream of rules beside
 * the facts gives no promise about which comes first. Later records come by that stream.
 */
final class RuleTopic implements Serializable {

    private static final long serialVersionUID = 1L;
    private static final Logger LOG = LoggerFactory.getLogger(RuleTopic.class);
    private static final Duration POLL = Duration.ofMillis(200);

    private final String bootstrap;
    private final String topic;

    RuleTopic(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
    }

    /** Puts everything that the topic holds now into the book. */
    void read(RuleBook book) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        // The client loads its classes by the thread's loader, which is another one in a task.
        ClassLoader loader = Thread.currentThread().getContextClassLoader();
        Thread.currentThread().setContextClassLoader(KafkaConsumer.class.getClassLoader());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            Map<TopicPartition, Long> beginning = consumer.beginningOffsets(List.of(partition));
            consumer.seek(partition, beginning.get(partition));
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    put(book, of(record));
                }
            }
        } finally {
            Thread.currentThread().setContextClassLoader(loader);
        }
    }

    /** Puts one record into the book; returns whether it was new. One that is no rule is left out, and said. */
    static boolean put(RuleBook book, RuleRecord record) {
        try {
            return book.put(record.scenario, record.offset, record.value);
        } catch (IOException | IllegalArgumentException e) {
            LOG.error("the record of {} at offset {} is no rule: {}", record.scenario, record.offset, e.getMessage());
            return false;
        }
    }

    static RuleRecord of(ConsumerRecord<byte[], byte[]> record) {
        String scenario = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
        return new RuleRecord(scenario, record.offset(), record.timestamp(), record.value());
    }
}
