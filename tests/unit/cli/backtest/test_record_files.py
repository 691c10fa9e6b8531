"""Records come back sorted, whatever fits into memory, and nothing is left."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.backtest.record_files import Frame, sorted_records, write_frame
from triggers.cases.history_records import HistoryRecord, RecordKind, mark

texts = st.text(max_size=3)
made = st.builds(
    HistoryRecord,
    texts,
    st.integers(0, 3),
    st.integers(0, 1),
    texts,
    st.integers(0, 9),
    st.integers(1, 4),
    st.binary(max_size=9),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.builds(Frame, st.lists(made, max_size=9), st.lists(texts, max_size=9)), max_size=6), st.integers(1, 600)
)
def test_files_of_records_and_marks_are_read_sorted_in_pieces_of_any_size(
    tmp_path: Path, frames: list[Frame], piece_bytes: int
) -> None:
    files = [tmp_path / "1", tmp_path / "2"]
    for number, file in enumerate(files):
        with file.open("wb") as out:
            for frame in frames[number::2]:
                write_frame(out, frame)
    found = list(sorted_records(files, tmp_path / "scratch", piece_bytes))
    marks = [record for record in found if record.kind == RecordKind.MARK]
    assert found == sorted([*(record for frame in frames for record in frame.records), *marks])
    assert set(marks) == {mark(user) for frame in frames for user in frame.marked}
    assert sorted(tmp_path.iterdir()) == files


def of_records(users: list[str]) -> Frame:
    """A frame of a small record of each user."""
    return Frame([HistoryRecord(user, 0, 0, "", 0, RecordKind.OUTCOME, b"") for user in users])


def of_marks(users: list[str]) -> Frame:
    """A frame of a mark of each user."""
    return Frame(marked=users)


FRAMES = pytest.mark.parametrize("frame_of", [of_records, of_marks])


def written(tmp_path: Path, frame_of: Callable[[list[str]], Frame], users: int) -> Path:
    """A file of frames of 500 users each."""
    path = tmp_path / "1"
    with path.open("wb") as out:
        for start in range(0, users, 500):
            write_frame(out, frame_of([f"u{number:07d}" for number in range(start, start + 500)]))
    return path


@FRAMES
@pytest.mark.parametrize(("piece_bytes", "runs"), [(64_000, 3), (64_001, 2), (193_000, 0)])
def test_records_and_marks_are_cut_into_pieces_at_the_same_number(
    tmp_path: Path, frame_of: Callable[[list[str]], Frame], piece_bytes: int, runs: int
) -> None:
    path = written(tmp_path, frame_of, 3000)
    records = sorted_records([path], tmp_path / "scratch", piece_bytes)
    next(records)
    assert len(list(tmp_path.glob("scratch*"))) == runs
    assert sum(1 for _ in records) == 2999


@FRAMES
def test_memory_is_bounded_by_the_piece_for_records_and_for_marks(
    tmp_path: Path, frame_of: Callable[[list[str]], Frame]
) -> None:
    piece_bytes = 512 * 1024
    path = written(tmp_path, frame_of, 50_000)
    tracemalloc.start()
    try:
        found = sum(1 for _ in sorted_records([path], tmp_path / "scratch", piece_bytes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == 50_000
    assert peak < 10 * piece_bytes


def test_many_marks_of_a_user_weigh_as_one(tmp_path: Path) -> None:
    path = tmp_path / "1"
    with path.open("wb") as out:
        for _ in range(50):
            write_frame(out, of_marks(["u1", "u2"]))
    records = sorted_records([path], tmp_path / "scratch", 1000)
    assert next(records) == mark("u1")
    assert list(records) == [mark("u2")]
    assert list(tmp_path.iterdir()) == [path]
