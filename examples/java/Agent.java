import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** An agent in Java that publishes one score. Run it with kafka-clients and Jackson: java -cp "lib/*" Agent.java */
public final class Agent {
    /** Jackson writes the names of the components as they are. */
    record PatternScored(
            UUID event_id, UUID pattern_id, double quality_score, double confidence,
            String measurement_timestamp, String version, Map<String, Object> metadata) {}

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = Map.of(
                ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, variable("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
                ProducerConfig.ACKS_CONFIG, "all",
                ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true,
                ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, 30_000,
                ProducerConfig.REQUEST_TIMEOUT_MS_CONFIG, 10_000,
                ProducerConfig.MAX_BLOCK_MS_CONFIG, 30_000);
        PatternScored event = new PatternScored(
                UUID.randomUUID(), // once per measurement: a retry has to repeat it
                UUID.fromString("daf768be-74bb-5c4d-bc3d-891bca5732a8"), // of the pattern, the same each time
                0.82,
                0.9,
                Instant.now().truncatedTo(ChronoUnit.MICROS).toString(), // in UTC, with its Z
                "1.0.0",
                Map.of("name", "shop.cart:total"));
        byte[] value = new ObjectMapper().writeValueAsBytes(event);
        var record = new ProducerRecord<>(
                variable("KAFKA_TOPIC", "pattern-scored.v1"), event.pattern_id().toString(), value);
        record.headers().add("content-type", "application/json".getBytes(StandardCharsets.UTF_8));
        // Closing the producer waits for what is under way. An error arrives only through the future.
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            producer.send(record).get();
        } catch (ExecutionException error) {
            System.err.printf("event %s was not acknowledged, publish it again%n", event.event_id());
            throw error;
        }
    }

    private static String variable(String name, String otherwise) {
        return Optional.ofNullable(System.getenv(name)).orElse(otherwise);
    }
}
