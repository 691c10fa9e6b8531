"""A run's speed from its progress: over all of it, and over the warm part."""

import pytest

from perf.commit_progress import CommitProgress, MeasuredWindow


def progress(*committed: int) -> list[CommitProgress]:
    """A commit a second, for which the process used half a second."""
    return [CommitProgress(float(at), done, at / 2) for at, done in enumerate(committed)]


def test_the_whole_is_from_the_first_commit_to_the_last() -> None:
    measured = MeasuredWindow.of(progress(100, 400, 1_000), 1_000, 12.0).measured()
    assert (measured["seconds"], measured["peak_mib"]) == (2.0, 12.0)
    assert measured["events_per_s"] == 450
    assert measured["cpu_us_per_event"] == pytest.approx(1e6 / 900)


def test_the_warm_part_begins_after_thirty_percent_and_ends_at_the_last_commit_but_one() -> None:
    window = MeasuredWindow.of(progress(100, 290, 300, 600, 900, 1_000), 1_000, 1.0)
    assert [each.committed for each in window.warm] == [300, 900]
    measured = window.measured()
    assert measured["warm_events_per_s"] == 300
    assert measured["warm_cpu_us_per_event"] == pytest.approx(1e6 / 600)


def test_events_that_were_committed_before_the_run_are_not_part_of_it() -> None:
    """The topic has 1,000 older records: 30 % of the run's are committed at 1,300."""
    window = MeasuredWindow.of(progress(1_100, 1_350, 1_800, 2_000), 1_000, 1.0)
    assert [each.committed for each in window.warm] == [1_350, 1_800]


@pytest.mark.parametrize("committed", [(1_000,), (200, 1_000), (200, 250, 1_000)])
def test_too_few_commits_have_no_warm_part(committed: tuple[int, ...]) -> None:
    measured = MeasuredWindow.of(progress(*committed), 1_000, 1.0).measured()
    assert (measured["warm_events_per_s"], measured["warm_cpu_us_per_event"]) == (None, None)


def test_a_single_commit_has_no_speed() -> None:
    measured = MeasuredWindow.of(progress(1_000), 1_000, 1.0).measured()
    assert (measured["events_per_s"], measured["cpu_us_per_event"], measured["seconds"]) == (None, None, 0.0)


def test_a_run_whose_last_commit_is_late_ends_at_the_one_before() -> None:
    seen = [*progress(100, 400, 900), CommitProgress(12.0, 1_000, 1.0)]
    measured = MeasuredWindow.of(seen, 1_000, 1.0, late_last_commit=True).measured()
    assert (measured["seconds"], measured["events_per_s"]) == (2.0, 400)


def test_cpu_by_thread_is_what_was_spent_from_the_first_commit_to_the_last() -> None:
    seen = [
        CommitProgress(0.0, 100, 1.0, {"main thread": 1.0}),
        CommitProgress(1.0, 400, 2.0),
        CommitProgress(2.0, 1_100, 4.0, {"main thread": 3.0, "librdkafka": 0.5}),
    ]
    assert MeasuredWindow.of(seen, 1_100, 1.0).cpu_us_by_thread == {"main thread": 2_000.0, "librdkafka": 500.0}
