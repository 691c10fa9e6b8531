"""Whatever is exported, in whichever pieces and through whichever crashes: each fact is one row, and offsets match."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.lake import lake_folder
from cli.lake.lake_folder import LakeFolder
from cli.lake.lake_tables import by_day
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind

BEGIN = datetime(2026, 11, 27, 22, tzinfo=UTC)
KINDS = (OutcomeKind.ACCEPTED, OutcomeKind.OPENED)


class Crash(BaseException):
    """The process ends here."""


def an_outcome(number: int) -> Outcome:
    """The same number is the same fact: of one of five users, two tables and three days."""
    time = BEGIN + timedelta(hours=9 * (number % 7))
    kind = KINDS[number % 2]
    return Outcome(id=f"o{number}", command_id=f"c{number}", user_id=f"u{number % 5}", kind=kind, time=time)


@contextmanager
def crash_at(step: int) -> Iterator[None]:
    """Ends the process at its n-th durable step."""
    steps, sync = iter(range(step)), lake_folder._sync

    def crashing(path: Path) -> None:
        if next(steps, None) is None:
            raise Crash
        sync(path)

    with patch.object(lake_folder, "_sync", crashing):
        yield


def rows(root: Path) -> list[str]:
    files = [path for table in ("decisions", "deliveries", "engagement") for path in (root / table).rglob("*.parquet")]
    return sorted(id_ for path in files for id_ in pq.read_table(path, partitioning=None)["id"].to_pylist())


def export(root: Path, log: list[int], upto: int, step: int) -> None:
    """One export of a log up to an offset, from where the folder says, perhaps with a crash."""
    try:
        with crash_at(step), LakeFolder.opened(root) as lake:
            begin = lake.offsets.get("outcomes", {}).get(0, 0)
            facts = [an_outcome(number) for number in log[begin:upto]]
            lake.add(by_day(facts), {"outcomes": {0: max(begin, upto)}})
    except Crash:
        pass


@settings(max_examples=60, deadline=None)
@given(
    log=st.lists(st.integers(0, 40), max_size=60),
    exports=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=6),
    files_of=st.integers(1, 20),
)
def test_each_fact_is_one_row_after_any_exports_and_crashes(
    log: list[int], exports: list[tuple[int, int]], files_of: int
) -> None:
    with TemporaryDirectory() as folder, patch.object(lake_folder, "ROWS_A_FILE", files_of):
        root = Path(folder) / "lake"
        for upto, step in exports:
            export(root, log, min(upto, len(log)), step)
        with LakeFolder.opened(root) as lake:
            done = lake.offsets.get("outcomes", {}).get(0, 0)
            assert rows(root) == sorted({f"o{number}" for number in log[:done]})
        export(root, log, len(log), 1_000)
        assert rows(root) == sorted({f"o{number}" for number in log})


@settings(max_examples=30, deadline=None)
@given(log=st.lists(st.integers(0, 40), max_size=40), step=st.integers(0, 12))
def test_an_erased_user_is_in_no_file_and_everybody_else_stays(log: list[int], step: int) -> None:
    with TemporaryDirectory() as folder, patch.object(lake_folder, "ROWS_A_FILE", 5):
        root = Path(folder) / "lake"
        export(root, log, len(log), 1_000)
        try:
            with crash_at(step), LakeFolder.opened(root) as lake:
                lake.erase("u3")
        except Crash:
            pass
        with LakeFolder.opened(root) as lake:
            lake.erase("u3")
            assert rows(root) == sorted({f"o{number}" for number in log if number % 5 != 3})
            assert lake.offsets.get("outcomes", {}).get(0, 0) == len(log)


def test_an_erasure_holds_one_changed_file_at_a_time(tmp_path: Path) -> None:
    export(tmp_path, [*range(40)], 40, 1_000)
    with LakeFolder.opened(tmp_path) as lake, patch.object(lake, "_commit", wraps=lake._commit) as commit:
        lake.erase("u3")
        assert commit.call_count > 1
        assert all(len(call.args[0]) == 1 for call in commit.call_args_list)
        assert (lake.count(["u3"]), lake.count(["u1", "u3"])) == (0, 8)


def test_any_two_crashes_one_after_the_other_lose_and_double_nothing(tmp_path: Path) -> None:
    log = [0, 1, 2, 7]
    for first, second in product(range(14), repeat=2):
        root = tmp_path / f"{first}-{second}"
        export(root, log, 2, first)
        export(root, log, 3, second)
        export(root, log, len(log), 1_000)
        assert rows(root) == sorted(f"o{number}" for number in log), (first, second)
