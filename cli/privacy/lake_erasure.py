"""Erases people from the lakes that an operator names: Ebbtide does not know where they are."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from cli.privacy.receipt import PlaceEnd, PlaceReceipt
from schemas.errors import UserError

LakeEraser = Callable[[Path, Collection[str], datetime], Iterator[PlaceReceipt]]


class NoLake(UserError):
    """The folder has no export."""


def require_lakes(folders: Sequence[Path]) -> None:
    """Raises NoLake if one of the folders has no export."""
    for folder in folders:
        _eraser_of(folder)


def erase_from(folders: Sequence[Path], ids: Collection[str], now: datetime) -> Iterator[PlaceReceipt]:
    """Writes the files of each folder anew that have rows of these ids. Raises NoLake, and LakeProblem."""
    for folder in folders:
        yield from _eraser_of(folder)(folder, ids, now)


def _eraser_of(folder: Path) -> LakeEraser:
    if (folder / "catalog.db").exists():
        return _erase_tables
    if (folder / "_ebbtide.json").exists():
        return _erase_files
    raise NoLake(f"{folder}: no lake; name the folder of `ebbtide export --to`")


def _erase_files(folder: Path, ids: Collection[str], now: datetime) -> Iterator[PlaceReceipt]:
    from cli.lake.lake_folder import LakeFolder

    erased: Counter[str] = Counter()
    with LakeFolder.opened(folder) as lake:
        for user_id in ids:
            erased += Counter(lake.erase(user_id))
        left = lake.count(ids)
    done = ", ".join(f"{name}: {rows} rows" for name, rows in erased.items()) or "nothing was there"
    yield _receipt(f"lake {folder}", done, left, now)


def _erase_tables(folder: Path, ids: Collection[str], now: datetime) -> Iterator[PlaceReceipt]:
    from cli.lake.iceberg_tables import iceberg_tables

    with iceberg_tables(folder, None) as tables:
        for table in tables:
            table.erase(ids)
        left = sum(table.count(ids) for table in tables)
        older = sum(table.count_older(ids) for table in tables)
    yield _receipt(f"lake {folder}", "rows are deleted", left, now)
    done = "they keep deleted rows until you expire them and remove their files"
    yield _receipt(f"lake {folder}, older snapshots", done, older, now)


def _receipt(place: str, done: str, left: int, now: datetime) -> PlaceReceipt:
    end = PlaceEnd.PENDING if left else PlaceEnd.GONE
    return PlaceReceipt(place, end, done, f"read again: {left} rows", None if left else now)
