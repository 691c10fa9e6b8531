"""The committer's answers to what a transaction can meet: again, lost, or the end."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.runtime import failpoints
from streams.runtime.checkpoint import Output, TableChanges, Transaction
from streams.runtime.commit import ANY_PARTITION, ATTEMPTS, CommitOutcome, Committer

MARKED = [("mark", b"yes")]
TRANSACTION = Transaction(
    [Output("commands", b"u", b"1", 3), Output("letters", None, b"2"), Output("commands", b"u", b"3", 3, MARKED)],
    [TopicPartition("e", 0, 7)],
    "m",
    changes=[TableChanges("changelog", 3, [(b"u", b"4"), (b"v", None)])],
)


def error(code: int, **flags: bool) -> KafkaException:
    return KafkaException(KafkaError(code, "on purpose", **flags))


ABORTABLE = error(KafkaError.TRANSACTION_ABORTABLE, txn_requires_abort=True)
RETRIABLE = error(KafkaError._TIMED_OUT, retriable=True)
FATAL = error(KafkaError._FENCED, fatal=True)
GONE = error(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)


class Recording:
    """A producer that notes the calls, and raises each given error once."""

    def __init__(self, **raises: list[BaseException]) -> None:
        self.calls: list[object] = []
        self._raises = raises
        self.away = 0
        self.refused = False

    def _call(self, name: str, *what: object) -> None:
        self.calls.append((name, *what) if what else name)
        if self._raises.get(name):
            raise self._raises[name].pop(0)

    def init_transactions(self, _: float) -> None:
        self._call("init")
        if "commit" not in self.calls:
            return
        if self.refused:
            raise FATAL
        if self.away:
            self.away -= 1
            raise RETRIABLE

    def begin_transaction(self) -> None:
        self._call("begin")

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **headers: object) -> None:
        self._call("produce", topic, value, key, partition, *headers.values())

    def poll(self, _: float) -> int:
        self._call("poll")
        return 0

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, _: float) -> None:
        self._call("offsets", [(o.topic, o.partition, o.offset) for o in offsets], metadata)

    def commit_transaction(self, _: float) -> None:
        self._call("commit")


ONCE = [
    "begin",
    ("produce", "changelog", b"4", b"u", 3),
    ("produce", "changelog", None, b"v", 3),
    ("produce", "commands", b"1", b"u", 3),
    ("produce", "letters", b"2", None, ANY_PARTITION),
    ("produce", "commands", b"3", b"u", 3, MARKED),
    ("offsets", [("e", 0, 7)], "m"),
    "commit",
]


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recording], CommitOutcome]:
    """Stages and commits the checkpoint, without the pauses between attempts."""
    monkeypatch.setattr("streams.runtime.commit.time.sleep", lambda _: None)

    def take(producer: Recording) -> CommitOutcome:
        committer = Committer(lambda: producer)
        committer.open()
        assert producer.calls.pop(0) == "init"
        return committer.commit(TRANSACTION, committer.stage(TRANSACTION))

    return take


def test_a_checkpoint_is_one_transaction(take: Callable[[Recording], CommitOutcome]) -> None:
    producer = Recording()
    assert take(producer) is CommitOutcome.OK
    assert producer.calls == ONCE


@pytest.mark.parametrize("place", ["begin", "produce", "offsets", "commit"])
def test_after_an_abortable_error_the_same_records_are_sent_again(
    take: Callable[[Recording], CommitOutcome], place: str
) -> None:
    """By a new producer: the one that failed may be refused for the gap in its sequence numbers."""
    producer = Recording(**{place: [ABORTABLE]})
    assert take(producer) is CommitOutcome.OK
    again = producer.calls.index("init") + 1
    assert producer.calls[again:] == ONCE


def test_a_commit_that_may_have_succeeded_is_retried_and_its_records_are_not_sent_again(
    take: Callable[[Recording], CommitOutcome],
) -> None:
    producer = Recording(commit=[RETRIABLE] * 50)
    assert take(producer) is CommitOutcome.OK
    assert producer.calls.count("begin") == 1


def test_offsets_that_are_not_taken_are_sent_again_by_a_new_producer_however_long_it_takes(
    take: Callable[[Recording], CommitOutcome],
) -> None:
    producer = Recording(offsets=[RETRIABLE] * (ATTEMPTS + 5))
    assert take(producer) is CommitOutcome.OK
    assert producer.calls.count("init") == ATTEMPTS + 5


def test_a_new_producer_waits_for_a_broker_that_is_away(take: Callable[[Recording], CommitOutcome]) -> None:
    producer = Recording(commit=[ABORTABLE])
    producer.away = 30
    assert take(producer) is CommitOutcome.OK
    assert producer.calls.count("init") == 31


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID])
def test_a_generation_that_is_gone_is_lost_and_never_sent_again(
    take: Callable[[Recording], CommitOutcome], code: int
) -> None:
    producer = Recording(offsets=[error(code, txn_requires_abort=True)])
    assert take(producer) is CommitOutcome.LOST
    assert producer.calls[-2:] == [ONCE[-2], "init"]


@pytest.mark.parametrize("place", ["begin", "produce", "offsets", "commit"])
def test_a_fenced_producer_is_the_end(take: Callable[[Recording], CommitOutcome], place: str) -> None:
    producer = Recording(**{place: [FATAL]})
    assert take(producer) is CommitOutcome.FATAL
    assert "init" not in producer.calls


def test_a_new_producer_that_is_refused_is_the_end(take: Callable[[Recording], CommitOutcome]) -> None:
    producer = Recording(commit=[ABORTABLE])
    producer.refused = True
    assert take(producer) is CommitOutcome.FATAL


def test_a_checkpoint_that_never_commits_is_the_end_and_not_a_loop(take: Callable[[Recording], CommitOutcome]) -> None:
    producer = Recording(commit=[ABORTABLE] * (ATTEMPTS + 5))
    assert take(producer) is CommitOutcome.FATAL
    assert producer.calls.count("commit") == ATTEMPTS


def test_a_full_queue_waits_for_room(take: Callable[[Recording], CommitOutcome]) -> None:
    producer = Recording(produce=[BufferError()])
    assert take(producer) is CommitOutcome.OK
    assert producer.calls == [*ONCE[:2], "poll", *ONCE[1:]]


def test_giving_up_a_producer_is_a_call_that_may_be_stuck_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking another one destroys it, which waits for its threads: in a state in which it was seen to hang."""
    monkeypatch.setattr("streams.runtime.commit.STUCK_S", -1.0)
    stuck: list[bool] = []

    class Dying(Recording):
        def __del__(self) -> None:
            stuck.append(committer.is_stuck())

    committer = Committer(Dying)
    committer.open()
    assert not committer.is_stuck()
    committer.open()
    assert stuck == [True]
    assert not committer.is_stuck()


def test_a_failpoint_names_a_place_a_time_and_an_action() -> None:
    assert failpoints.parse("").name == ""
    assert failpoints.parse("after_produce") == ("after_produce", 1, "kill", 0)
    assert failpoints.parse("in_recovery:3") == ("in_recovery", 3, "kill", 0)
    assert failpoints.parse("before_commit:2:stop") == ("before_commit", 2, "stop", 0)
    assert failpoints.parse("before_commit:2:wait=5") == ("before_commit", 2, "wait", 5)
    for wrong in ("nowhere", "after_produce:x", "after_produce:-1", "before_commit:1:jump", "before_commit:1:wait"):
        with pytest.raises(failpoints.UnknownFailpoint):
            failpoints.parse(wrong)
