import java.io.BufferedWriter;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Dump BROKERS FOLDER PREFIX [UNTIL_TOPIC [no-headers]]: the records of every topic that contains PREFIX, one file a topic
 * (FOLDER/TOPIC.ndjson), or one for all where FOLDER itself ends in .ndjson. In the form that `stoker explain` reads, by
 * time, then topic, partition, offset.
 * Waits up to a minute until UNTIL_TOPIC holds a record. Keys and values that are not UTF-8 become key_b64 and value_b64.
 */
public class Dump {
    public static void main(String[] args) throws Exception {
        String until = args.length > 3 ? args[3] : "";
        boolean headers = args.length <= 4;
        var settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        settings.put("max.partition.fetch.bytes", "8388608");
        var files = new TreeMap<Path, List<ConsumerRecord<byte[], byte[]>>>();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (!until.isEmpty()) await(consumer, until);
            var partitions = partitions(consumer, args[2]);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p)))
                for (var record : consumer.poll(Duration.ofMillis(200)))
                    files.computeIfAbsent(file(args[1], record.topic()), f -> new ArrayList<>()).add(record);
        }
        for (var file : files.entrySet()) {
            Files.createDirectories(file.getKey().toAbsolutePath().getParent());
            var records = file.getValue();
            records.sort(Comparator.<ConsumerRecord<byte[], byte[]>>comparingLong(ConsumerRecord::timestamp)
                .thenComparing(ConsumerRecord::topic).thenComparingInt(ConsumerRecord::partition)
                .thenComparingLong(ConsumerRecord::offset));
            try (BufferedWriter out = Files.newBufferedWriter(file.getKey())) {
                for (var record : records) out.write(line(record, headers));
            }
        }
    }

    static Path file(String folder, String topic) {
        return folder.endsWith(".ndjson") ? Path.of(folder) : Path.of(folder, topic + ".ndjson");
    }

    static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String part) {
        var all = new ArrayList<TopicPartition>();
        for (var topic : consumer.listTopics().entrySet())
            if (topic.getKey().contains(part))
                for (var info : topic.getValue()) all.add(new TopicPartition(info.topic(), info.partition()));
        return all;
    }

    static void await(KafkaConsumer<?, ?> consumer, String topic) throws Exception {
        for (int i = 0; i < 300; i++) {
            var partitions = partitions(consumer, topic);
            if (consumer.endOffsets(partitions).values().stream().anyMatch(end -> end > 0)) {
                Thread.sleep(1000); // partitions are written side by side: what was sent before may still be on its way
                return;
            }
            Thread.sleep(200);
        }
        throw new IllegalStateException("no record in " + topic);
    }

    static String line(ConsumerRecord<byte[], byte[]> record, boolean headers) {
        var out = new StringBuilder("{\"topic\":").append(quoted(record.topic()))
            .append(",\"partition\":").append(record.partition())
            .append(",\"offset\":").append(record.offset())
            .append(",\"timestamp_ms\":").append(record.timestamp());
        bytes(out, "key", record.key());
        bytes(out, "value", record.value());
        if (headers) {
            var list = new ArrayList<String>();
            for (Header header : record.headers())
                list.add("[" + quoted(header.key()) + "," + (header.value() == null ? "null" : base64(header.value())) + "]");
            if (!list.isEmpty()) out.append(",\"headers\":[").append(String.join(",", list)).append("]");
        }
        return out.append("}\n").toString();
    }

    static void bytes(StringBuilder out, String name, byte[] bytes) {
        if (bytes == null) {
            out.append(",\"").append(name).append("\":null");
            return;
        }
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
            out.append(",\"").append(name).append("\":").append(quoted(text));
        } catch (CharacterCodingException e) {
            out.append(",\"").append(name).append("_b64\":").append(base64(bytes));
        }
    }

    static String base64(byte[] bytes) {
        return '"' + Base64.getEncoder().encodeToString(bytes) + '"';
    }

    static String quoted(String text) {
        var out = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < 0x20) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }
}
