"""Dead letters as delivery writes them: what a reader could not read or keep goes to the topic `dead-letters`."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Shutdown
from infra.service.faults import Fault, fault_of_kafka, kafka_error
from infra.service.outages import backoff_s
from schemas import codec
from schemas.deadletters import DeadLetter, dead_letter
from schemas.topics import DEAD_LETTERS
from schemas.vocabulary import DeadLetterCause


class DeadLetters:
    """Where one reader puts records aside. Used by one thread."""

    def __init__(
        self,
        connection: Connection,
        reader: str,
        halt: Event,
        beat: Callable[[], None] = lambda: None,
        observer: ReaderObserver | None = None,
    ) -> None:
        self._beat = beat
        self._observer = observer or ReaderObserver()
        self._reader = reader
        self._halt = halt
        self._log = structlog.get_logger("infra.kafka.dead_letters")
        self._refused: list[tuple[DeadLetter, KafkaError]] = []
        self._producer = Producer(
            connection.client(partitioner=codec.PARTITIONER, enable_idempotence=True, message_timeout_ms=0, linger_ms=5)
        )

    def put(self, record: Message, cause: DeadLetterCause, detail: str) -> None:
        """Put a record aside. It is there for certain once `flush` has returned."""
        place = (record.topic() or "", record.partition() or 0, record.offset() or 0)
        now = datetime.now(UTC)
        letter = dead_letter(place, record.key(), record.value(), cause, detail, reader=self._reader, time=now)
        self._log.warning("dead_letter", place=letter.place, cause=cause.value, detail=letter.detail)
        self._send(letter)
        self._observer.dead_letter(cause)

    def flush(self) -> None:
        """Wait until all is on the topic, also while Kafka is away or refuses for a reason that may pass.

        Raises Shutdown when the process stops first, RuntimeError when Kafka refuses for good.
        """
        for wait_s in backoff_s():
            while self._producer.flush(0.5):
                self._beat()
                if self._halt.is_set():
                    raise Shutdown
            if not self._refused:
                return
            if self._halt.wait(wait_s):
                raise Shutdown
            self._send_again()
        raise AssertionError("back-off never ends")

    def _send(self, letter: DeadLetter) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._refused.append((letter, error))

        key = letter.original_key()
        try:
            self._producer.produce(DEAD_LETTERS.name, value=codec.encode(letter), key=key, on_delivery=delivered)
        except (KafkaException, BufferError) as error:
            self._refused.append((letter, kafka_error(error) or KafkaError(KafkaError._FAIL)))

    def _send_again(self) -> None:
        refused, self._refused = self._refused, []
        for letter, error in refused:
            match fault_of_kafka(error):
                case Fault.PROCESS:
                    raise RuntimeError(f"{DEAD_LETTERS.name}: Kafka refused a dead letter: {error.str()}")
                case Fault.ITEM if letter.key is not None or letter.value is not None:
                    letter = letter.without_bytes()
            self._log.warning("dead_letter_refused", place=letter.place, error=error.name(), next_step="sent again")
            self._send(letter)
