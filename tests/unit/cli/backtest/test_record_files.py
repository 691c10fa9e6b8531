"""Records come back sorted, whatever fits into memory, and nothing is left."""

from pathlib import Path

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
