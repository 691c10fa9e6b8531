"""Files of records: written by any number of processes, each its own, and read sorted in bounded memory.

A file is a row of frames, each with its length before it in 4 bytes, in MessagePack.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import IO

from msgspec import Struct, field
from msgspec.msgpack import Decoder, Encoder

from triggers.cases.history_records import HistoryRecord, mark

_FRAME = 256
"""Records of a frame of a sorted file. One frame of each is in memory while files are merged."""
_HEAD_BYTES = 64
"""About what a record takes in a file beside its payload, and a mark, which has none, where it is sorted."""


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


class _Piece:
    """Records that are in memory, with one mark of a user at most."""

    def __init__(self) -> None:
        self._records: list[HistoryRecord] = []
        self._marked: set[str] = set()
        self._payload_bytes = 0

    def add(self, frame: Frame) -> None:
        """Adds a frame."""
        self._records += frame.records
        self._marked.update(frame.marked)
        self._payload_bytes += sum(len(record.payload) for record in frame.records)

    @property
    def size(self) -> int:
        """The bytes of the payloads and about what records and marks take beside them."""
        return self._payload_bytes + _HEAD_BYTES * (len(self._records) + len(self._marked))

    def sorted(self) -> list[HistoryRecord]:
        """The records and the marks, sorted. Nothing is added later."""
        self._records += map(mark, self._marked)
        self._marked.clear()
        self._records.sort()
        return self._records


def sorted_records(files: Sequence[Path], scratch: Path, piece_bytes: int) -> Iterator[HistoryRecord]:
    """The records of all the files and the marks, sorted. Each piece of `piece_bytes` is sorted and written to a file
    whose name begins with that of `scratch`; the files are merged with the rest, and removed at the end."""
    runs: list[Path] = []
    piece = _Piece()
    try:
        for frame in chain.from_iterable(map(read_frames, files)):
            piece.add(frame)
            if piece.size >= piece_bytes:
                runs.append(scratch.with_name(f"{scratch.name}-{len(runs)}"))
                _write_run(runs[-1], piece.sorted())
                piece = _Piece()
        yield from merge(*map(_read_run, runs), piece.sorted())
    finally:
        for run in runs:
            run.unlink(missing_ok=True)


def _write_run(path: Path, records: list[HistoryRecord]) -> None:
    with path.open("wb") as file:
        for start in range(0, len(records), _FRAME):
            write_frame(file, Frame(records[start : start + _FRAME]))


def _read_run(path: Path) -> Iterator[HistoryRecord]:
    for frame in read_frames(path):
        yield from frame.records
