package ebbtide.peers;

import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The rule of perf/rules/every-event on Flink; its clock is the append time. Arguments: bootstrap servers, group, input,
 * output, checkpoint folder.
 */
public final class FlinkPeer {
  private static final ObjectReader READER = Job.reader(Arrival.class);

  private FlinkPeer() {}

  /** An event with the append time that the broker gave it. */
  public static final class Arrival extends Job.Event {
    public long appendMs;
  }

  /** A command and its user. */
  public static final class Sent {
    public String user_id;
    public byte[] value;
  }

  public static void main(String[] arguments) throws Exception {
    Configuration settings = new Configuration();
    settings.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
    settings.set(PipelineOptions.GENERIC_TYPES, false);
    settings.setString("state.backend.type", "hashmap");
    settings.setString("execution.checkpointing.storage", "filesystem");
    settings.setString("execution.checkpointing.dir", Path.of(arguments[4]).toUri().toString());
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, settings);
    environment.enableCheckpointing(1000, CheckpointingMode.EXACTLY_ONCE);
    environment.getConfig().enableObjectReuse();
    environment.fromSource(source(arguments), WatermarkStrategy.noWatermarks(), "events")
        .keyBy(arrival -> arrival.user_id)
        .process(new Score())
        .sinkTo(sink(arguments));
    environment.execute("every-event");
  }

  private static KafkaSource<Arrival> source(String[] arguments) {
    return KafkaSource.<Arrival>builder()
        .setBootstrapServers(arguments[0])
        .setGroupId(arguments[1])
        .setTopics(arguments[2])
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setProperty("isolation.level", "read_committed")
        .setDeserializer(new Arrivals())
        .build();
  }

  private static KafkaSink<Sent> sink(String[] arguments) {
    Properties producer = new Properties();
    producer.put("transaction.timeout.ms", "60000");
    producer.put("compression.type", "lz4");
    producer.put("linger.ms", "5");
    return KafkaSink.<Sent>builder()
        .setBootstrapServers(arguments[0])
        .setKafkaProducerConfig(producer)
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(arguments[1])
        .setRecordSerializer(new Commands(arguments[3]))
        .build();
  }

  private static final class Arrivals implements KafkaRecordDeserializationSchema<Arrival> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Arrival> out) throws IOException {
      Arrival arrival = READER.readValue(record.value());
      arrival.appendMs = record.timestamp();
      out.collect(arrival);
    }

    @Override
    public TypeInformation<Arrival> getProducedType() {
      return Types.POJO(Arrival.class);
    }
  }

  private record Commands(String topic) implements KafkaRecordSerializationSchema<Sent> {
    @Override
    public ProducerRecord<byte[], byte[]> serialize(Sent sent, KafkaSinkContext context, Long timestamp) {
      return new ProducerRecord<>(topic, sent.user_id.getBytes(StandardCharsets.UTF_8), sent.value);
    }
  }

  private static final class Score extends KeyedProcessFunction<String, Arrival, Sent> {
    private transient ValueState<Job.User> state;

    @Override
    public void open(OpenContext context) {
      state = getRuntimeContext().getState(new ValueStateDescriptor<>("user", Types.POJO(Job.User.class)));
    }

    @Override
    public void processElement(Arrival arrival, Context context, Collector<Sent> out) throws Exception {
      Job.User user = state.value();
      if (user == null) {
        user = new Job.User();
      }
      byte[] command = Job.apply(user, arrival, arrival.appendMs);
      state.update(user);
      if (command != null) {
        Sent sent = new Sent();
        sent.user_id = arrival.user_id;
        sent.value = command;
        out.collect(sent);
      }
    }
  }
}
