"""Files of records: written by any number of processes, each its own, and read sorted in bounded memory.

A file is a row of frames, each with its length before it in 4 bytes, in MessagePack.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO

from msgspec import Struct, field
from msgspec.msgpack import Decoder, Encoder

from triggers.cases.history_records import HistoryRecord, mark

_FRAME = 256
"""Records of a frame of a sorted file. One frame of each is in memory while files are merged."""
_HEAD_BYTES = 64
"""About what a record takes in a file beside its payload."""
_NO_LIMIT = 2**63


class Frame(Struct, array_like=True):
    """Records, and the users who are to get a mark: a log may have more such users than records, so each is no more
    than its id until the records are sorted."""

    records: list[HistoryRecord] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)


_pack = Encoder().encode
_unpack = Decoder(Frame).decode


def write_frame(file: IO[bytes], frame: Frame) -> None:
    """Appends a frame; it is in the file when this returns."""
    data = _pack(frame)
    file.write(len(data).to_bytes(4, "little") + data)
    file.flush()


def read_frames(path: Path) -> Iterator[Frame]:
    """The frames of a file."""
    with path.open("rb") as file:
        while head := file.read(4):
            yield _unpack(file.read(int.from_bytes(head, "little")))


def sorted_records(files: Sequence[Path], scratch: Path, piece_bytes: int) -> Iterator[HistoryRecord]:
    """The records of all the files and the marks, sorted. If the files are larger than `piece_bytes`, sorted pieces are
    written to files whose names begin with that of `scratch`, and merged; they are removed at the end."""
    if sum(path.stat().st_size for path in files) <= piece_bytes:
        for piece in _pieces(files, _NO_LIMIT):
            yield from sorted(piece)
        return
    runs: list[Path] = []
    try:
        for piece in _pieces(files, piece_bytes):
            piece.sort()
            runs.append(scratch.with_name(f"{scratch.name}-{len(runs)}"))
            _write_run(runs[-1], piece)
            piece.clear()
        yield from merge(*map(_read_run, runs))
    finally:
        for run in runs:
            run.unlink(missing_ok=True)


def _pieces(files: Sequence[Path], piece_bytes: int) -> Iterator[list[HistoryRecord]]:
    """The records in pieces. A piece has one mark of a user at most."""
    piece: list[HistoryRecord] = []
    marked: set[str] = set()
    size = 0
    for path in files:
        for frame in read_frames(path):
            piece += frame.records
            marked.update(frame.marked)
            size += sum(len(record.payload) for record in frame.records)
            size += _HEAD_BYTES * (len(frame.records) + len(frame.marked))
            if size >= piece_bytes:
                yield [*piece, *map(mark, marked)]
                piece, marked, size = [], set(), 0
    if piece or marked:
        yield [*piece, *map(mark, marked)]


def _write_run(path: Path, records: list[HistoryRecord]) -> None:
    coming = iter(records)
    with path.open("wb") as file:
        while records := list(islice(coming, _FRAME)):
            write_frame(file, Frame(records))


def _read_run(path: Path) -> Iterator[HistoryRecord]:
    for frame in read_frames(path):
        yield from frame.records
