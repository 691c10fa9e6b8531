"""As of when a partition of the recipients view is known."""

from datetime import UTC, datetime, timedelta

from infra.kafka.topics import TopicPartition
from senders.policy.view_progress import NEVER, PartitionProgress, StoredProgress, ViewProgress

PARTITION = TopicPartition("profiles", 3)
ASKED_AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def following(next_offset: int) -> tuple[ViewProgress, PartitionProgress]:
    view, progress = ViewProgress(), PartitionProgress(next_offset)
    view.begin(PARTITION, progress)
    return view, progress


def test_a_partition_read_up_to_its_end_is_known_as_of_the_moment_of_asking() -> None:
    view, progress = following(5)
    view.ends_known({PARTITION: 8}, ASKED_AT)
    progress.read_to(7)
    assert view.written() == []
    assert progress.as_of == NEVER
    progress.read_to(8)
    assert view.written() == [StoredProgress("profiles", 3, 8, ASKED_AT)]
    assert view.without_end() == [PARTITION]


def test_a_quiet_partition_stays_fresh() -> None:
    view, progress = following(8)
    for seconds in (0, 1):
        view.ends_known({PARTITION: 8}, ASKED_AT + timedelta(seconds=seconds))
        assert len(view.written()) == 1
    assert progress.as_of == ASKED_AT + timedelta(seconds=1)


def test_a_partition_whose_end_is_unknown_ages() -> None:
    view, progress = following(8)
    assert view.without_end() == [PARTITION]
    progress.read_to(20)
    assert view.written() == []
    assert progress.as_of == NEVER


def test_a_revoked_partition_is_not_followed() -> None:
    view, _ = following(8)
    view.end(PARTITION)
    assert (view.without_end(), view.written(), view.get(PARTITION)) == ([], [], None)
