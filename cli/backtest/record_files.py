"""Files of records: written by any number of processes, each its own, and read sorted in bounded memory.

A file is a row of frames: the length in 4 bytes, then a MessagePack array of records.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO

from msgspec.msgpack import Decoder, Encoder

from triggers.cases.history_records import HistoryRecord

_FRAME = 256
"""Records of a frame of a sorted file. One frame of each is in memory while files are merged."""
_HEAD_BYTES = 64
"""About what a record takes in a file beside its payload."""

_pack = Encoder().encode
_unpack = Decoder(list[HistoryRecord]).decode


def write_frame(file: IO[bytes], records: list[HistoryRecord]) -> None:
    """Appends records as one frame; it is in the file when this returns."""
    data = _pack(records)
    file.write(len(data).to_bytes(4, "little") + data)
    file.flush()


def read_frames(path: Path) -> Iterator[list[HistoryRecord]]:
    """The frames of a file."""
    with path.open("rb") as file:
        while head := file.read(4):
            yield _unpack(file.read(int.from_bytes(head, "little")))


def sorted_records(files: Sequence[Path], scratch: Path, piece_bytes: int) -> Iterator[HistoryRecord]:
    """The records of all the files, sorted. If the files are larger than `piece_bytes`, sorted pieces are written to
    files whose names begin with that of `scratch`, and merged; they are removed at the end."""
    if sum(path.stat().st_size for path in files) <= piece_bytes:
        yield from sorted(record for path in files for frame in read_frames(path) for record in frame)
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
    piece: list[HistoryRecord] = []
    size = 0
    for path in files:
        for frame in read_frames(path):
            piece += frame
            size += sum(len(record.payload) for record in frame) + _HEAD_BYTES * len(frame)
            if size >= piece_bytes:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece


def _write_run(path: Path, records: list[HistoryRecord]) -> None:
    coming = iter(records)
    with path.open("wb") as file:
        while frame := list(islice(coming, _FRAME)):
            write_frame(file, frame)


def _read_run(path: Path) -> Iterator[HistoryRecord]:
    for frame in read_frames(path):
        yield from frame
