package ebbtide.peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The rule of perf/rules/every-event on Kafka Streams; its clock is the append time. Arguments: bootstrap servers,
 * application id, input, output, state folder.
 */
public final class KafkaStreamsPeer {
  private static final ObjectMapper MAPPER = new ObjectMapper();
  private static final ObjectReader EVENTS = Job.reader(Job.Event.class);
  private static final Duration CLOSE = Duration.ofSeconds(10);

  private KafkaStreamsPeer() {}

  public static void main(String[] arguments) throws InterruptedException {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
    settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
    settings.put(StreamsConfig.producerPrefix("linger.ms"), 5);
    CountDownLatch ended = new CountDownLatch(1);
    KafkaStreams streams = new KafkaStreams(topology(arguments[2], arguments[3]), settings);
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      ended.countDown();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSE)));
    streams.start();
    ended.await();
    System.exit(1);
  }

  private static Topology topology(String input, String output) {
    Serde<byte[]> bytes = Serdes.ByteArray();
    return new Topology()
        .addSource("events", bytes.deserializer(), bytes.deserializer(), input)
        .addProcessor("score", Score::new, "events")
        .addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore("users"), Serdes.String(), users())
                .withCachingDisabled(),
            "score")
        .addSink("commands", output, bytes.serializer(), bytes.serializer(), "score");
  }

  /** A user's state as a JSON array, as the bare loop writes it. */
  private static Serde<Job.User> users() {
    Serializer<Job.User> serializer = (topic, user) -> {
      try {
        return user == null ? null : MAPPER.writeValueAsBytes(new double[] {user.score, user.atMs, user.sentAtMs});
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    };
    Deserializer<Job.User> deserializer = (topic, value) -> {
      try {
        if (value == null) {
          return null;
        }
        double[] fields = MAPPER.readValue(value, double[].class);
        Job.User user = new Job.User();
        user.score = fields[0];
        user.atMs = (long) fields[1];
        user.sentAtMs = (long) fields[2];
        return user;
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    };
    return Serdes.serdeFrom(serializer, deserializer);
  }

  private static final class Score implements Processor<byte[], byte[], byte[], byte[]> {
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, Job.User> users;

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
      context = given;
      users = given.getStateStore("users");
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      try {
        Job.Event event = EVENTS.readValue(record.value());
        Job.User user = users.get(event.user_id);
        if (user == null) {
          user = new Job.User();
        }
        byte[] command = Job.apply(user, event, record.timestamp());
        users.put(event.user_id, user);
        if (command != null) {
          context.forward(record.withValue(command));
        }
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }
}
