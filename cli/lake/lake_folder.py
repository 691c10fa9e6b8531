"""A folder of Parquet files that changes all at once: files and the offsets that they hold are one commit.

    FOLDER/decisions/day=2026-11-29/part-0000.parquet    also deliveries, engagement
    FOLDER/_ebbtide.json                                 what is committed: offsets, and files that are still to move
    FOLDER/_staging/                                     files of a commit that has not ended

New and changed files are written below `_staging`. The commit is the replacement of `_ebbtide.json`, which names them;
afterwards each moves to its place by a rename, so no reader sees a part of a file or a row twice. What a crash leaves
is completed or removed by the next `open`. Readers such as Spark pass over names that begin with `_`.
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.lake.lake_tables import SCHEMAS, Row, TableDay
from schemas.errors import UserError
from schemas.topics import DECISIONS, OUTCOMES

Offsets = dict[str, dict[int, int]]
"""By topic and partition: the offset of the next record to export."""

ROWS_A_FILE = 500_000
"""A smaller last file of a day is written anew with the rows that come; a larger one stays as it is."""
_FORM = 1


class LakeProblem(UserError):
    """A folder that cannot be used as a lake; the message says why and what to do."""


class LakeFolder:
    """One open lake. Nobody else writes it meanwhile."""

    topics = (DECISIONS.name, OUTCOMES.name)

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / "_staging"
        self._state = root / "_ebbtide.json"
        self.offsets: Offsets = {}
        self._load()

    @classmethod
    @contextmanager
    def opened(cls, root: Path) -> Iterator["LakeFolder"]:
        """The lake at `root`, made if nothing is there. Raises LakeProblem."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            with (root / "_lock").open("w") as lock:
                _lock(lock.fileno(), root)
                yield cls(root)
        except OSError as error:
            raise LakeProblem(f"{error.filename or root}: {error.strerror or error}") from None

    def add(self, days: Mapping[TableDay, Mapping[str, Row]], offsets: Offsets) -> dict[str, int]:
        """Commits the rows that are not there yet, by id, with the offsets after them. Returns new rows by table."""
        added: dict[str, int] = {}
        changes: dict[Path, pa.Table] = {}
        for day, rows in sorted(days.items()):
            known = self._known(day, list(rows))
            fresh = [row for id_, row in rows.items() if id_ not in known]
            if fresh:
                added[day.table] = added.get(day.table, 0) + len(fresh)
                changes |= self._extended(day, fresh)
        self._commit(changes, offsets)
        return added

    def erase(self, user_id: str) -> dict[str, int]:
        """Writes anew each file with rows of a user, without them; each is a commit.

        Returns how many rows went, by table.
        """
        erased: dict[str, int] = {}
        for table, path in self._all_files():
            if count := count_of_users(path, [user_id]):
                whole = pq.read_table(path, partitioning=None)
                self._commit({path: whole.filter(pc.field("user_id") != user_id)}, self.offsets)
                erased[table] = erased.get(table, 0) + count
        return erased

    def count(self, users: Collection[str]) -> int:
        """How many rows of these users there are."""
        return sum(count_of_users(path, users) for _, path in self._all_files())

    # what is there

    def _all_files(self) -> Iterator[tuple[str, Path]]:
        """The files of all days, each with its table."""
        for table in SCHEMAS:
            for path in sorted((self._root / table).glob("day=*/*.parquet")):
                yield table, path

    def _files(self, day: TableDay) -> list[Path]:
        return sorted((self._root / day.table / f"day={day.day}").glob("part-*.parquet"))

    def _known(self, day: TableDay, ids: list[str]) -> set[str]:
        """Those of the ids that the day's files have."""
        wanted, known = pa.array(ids), set[str]()
        for path in self._files(day):
            column = pq.read_table(path, columns=["id"], partitioning=None)["id"]
            known.update(column.filter(pc.is_in(column, wanted)).to_pylist())
        return known

    def _extended(self, day: TableDay, rows: list[Row]) -> dict[Path, pa.Table]:
        """The file that takes the rows: the last of the day with its own, or the next."""
        table, files = pa.Table.from_pylist(rows, SCHEMAS[day.table]), self._files(day)
        if files and pq.read_metadata(files[-1]).num_rows + len(rows) <= ROWS_A_FILE:
            before = pq.read_table(files[-1], partitioning=None)
            return {files[-1]: pa.concat_tables([before, table], promote_options="default")}
        return {self._root / day.table / f"day={day.day}" / f"part-{len(files):04}.parquet": table}

    # commits

    def _load(self) -> None:
        if self._state.exists():
            state = self._read_state()
            self.offsets = {topic: {int(p): at for p, at in each.items()} for topic, each in state["offsets"].items()}
            if state["moves"]:
                self._move(state["moves"])
                self._write_state(self.offsets, [])  # before another file takes the name of a staged one
        elif any(not path.name.startswith("_") for path in self._root.iterdir()):
            raise LakeProblem(f"{self._root}: not empty, and no lake; name an empty or a new folder")
        shutil.rmtree(self._staging, ignore_errors=True)

    def _read_state(self) -> dict[str, Any]:
        try:
            state = orjson.loads(self._state.read_bytes())
            if state["form"] != _FORM:
                raise LakeProblem(f"{self._state}: of form {state['form']}; this version reads {_FORM}")
            return {"offsets": state["offsets"], "moves": state["moves"]}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise LakeProblem(f"{self._state}: not what an export wrote; restore it or export anew") from None

    def _commit(self, changes: Mapping[Path, pa.Table], offsets: Offsets) -> None:
        self._staging.mkdir(exist_ok=True)
        moves = []
        for number, (path, table) in enumerate(changes.items()):
            staged = self._staging / f"{number}.parquet"
            pq.write_table(table, staged, compression="zstd")
            _sync(staged)
            moves.append([staged.name, str(path.relative_to(self._root))])
        self._write_state(offsets, moves)
        self.offsets = offsets
        self._move(moves)
        self._write_state(offsets, [])

    def _write_state(self, offsets: Offsets, moves: list[list[str]]) -> None:
        texts = {topic: {str(p): at for p, at in sorted(each.items())} for topic, each in offsets.items()}
        fresh = self._root / "_ebbtide.new"
        fresh.write_bytes(orjson.dumps({"form": _FORM, "offsets": texts, "moves": moves}, option=orjson.OPT_INDENT_2))
        _sync(fresh)
        fresh.replace(self._state)
        _sync(self._root)

    def _move(self, moves: Iterable[list[str]]) -> None:
        """Moves staged files to their places; those that are gone were moved before a crash."""
        for staged, place in moves:
            target = self._root / place
            if (self._staging / staged).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                (self._staging / staged).replace(target)
                _sync(target.parent)


def count_of_users(file: Path | IO[bytes], users: Collection[str]) -> int:
    """How many rows of these users a Parquet file has."""
    of_users = pc.field("user_id").isin([*users])
    return int(pq.read_table(file, columns=["id"], partitioning=None, filters=of_users).num_rows)


def _lock(number: int, root: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LakeProblem(f"{root}: another export writes it; wait for its end") from None


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
