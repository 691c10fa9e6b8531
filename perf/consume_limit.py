"""The consume limit of librdkafka: consumes and counts records, nothing else. A separate process."""

import sys

from perf.inside import Meter, reader, wait_to_be_ended


def main(kafka: str, group: str, topic: str, events: int) -> None:
    """Counts `events` records of the topic."""
    consumer = reader(kafka, group)
    consumer.subscribe([topic])
    meter, done = Meter(), 0
    while done < events:
        records = consumer.consume(2_000, 0.05)
        if records:
            meter.begin()
            done += len(records)
    meter.end(done)
    wait_to_be_ended()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
