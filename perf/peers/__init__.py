"""The rule of `rules/every-event` on Kafka Streams and on Flink, in Java: `every-event --peers` measures them."""
