import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** Publishes an order of each user on standard input, by the contract of docs/ingest.md. Order 3 is PREFIX-3. */
public class EventProducer {
    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        String prefix = arguments[1];
        Properties settings = new Properties();
        settings.put("bootstrap.servers", broker);
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("compression.type", "lz4");
        ObjectMapper json = new ObjectMapper();
        List<Future<RecordMetadata>> results = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
                BufferedReader users = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String user = users.readLine(); user != null; user = users.readLine()) {
                String order = prefix + "-" + results.size();
                Map<String, Object> event = Map.of(
                        "id", order,
                        "type", "order_completed",
                        "user_id", user,
                        "time", Instant.now().toString(),
                        "properties", Map.of("order_id", order, "total", 9.5),
                        "source", "java");
                results.add(producer.send(new ProducerRecord<>("events", user, json.writeValueAsString(event))));
            }
        }
        for (Future<RecordMetadata> result : results) {
            result.get();
        }
    }
}
