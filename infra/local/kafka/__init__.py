"""The local Apache Kafka: fetched through Maven, run as one Java process."""
