"""A table's partition as a file, with the changelog offset from which reading on completes it: recovery is short.

Why (entries, offset) may stand for the changelog before `offset`. The entries are the state at rest between two
checkpoints of its owner. The offset is a last stable offset, asked before one of the owner's checkpoints that was
then committed, and so passed the group's check of its generation: at the time of asking nobody else owned the
partition. Below it every record belongs to a finished transaction. Those of owners before were recovered, those of
this owner are in the entries, and the rest were aborted. What the entries hold beyond the offset is read again, which
changes nothing: the last value of each key wins, and a recovery reads to the high watermark, which is later than
anything in the entries. A worker that lost its partitions and has not noticed has no such offset, however late its
file is written.

When it may not: the topic was made again (another id) or cut (it ends before the offset), its partitions were
counted anew, or a tombstone after the offset may have been cleaned away, for which the snapshot must be younger than
half of the changelog's delete.retention.ms. A file that is torn, damaged, of another format or application is of no
use either. All of that is answered with one line in the log, and the changelog read from its beginning.

The bytes are those of the changelog, so a file outlives a change of the application's codec as the changelog does.

The file: a magic line with the format's number; a JSON header and its length before it; then chunks: how many
entries, the lengths of their keys, of their values, the keys, the values; at last a digest of all that. Numbers are
little-endian and 32 bits wide. It replaces its predecessor by a rename, so there is one whole file a partition.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import BinaryIO

import orjson
import structlog

log = structlog.get_logger()

MAGIC = b"ebbtide snapshot 1\n"
DIGEST_BYTES = 16
CHUNK = 1_024
"""Entries joined at a time: a fraction of a millisecond, then the file and the digest let the event loop run."""
NUMBER = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Origin:
    """The changelog partition that a snapshot stands for."""

    application: str
    topic: str
    topic_id: str
    partitions: int
    partition: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A partition's entries, from where its changelog is to be read on, and when that offset was asked."""

    entries: dict[bytes, bytes]
    offset: int
    asked_s: float
    """Seconds since 1970."""


class UnusableSnapshot(Exception):
    """The file is not what it should be; the text says how."""


class SnapshotFolder:
    """The snapshots of a machine's workers: one file a partition, written by whoever has it.

    `worker` tells their unfinished files apart; no two that run at once may share it. A failure costs a line in the
    log and a longer recovery, never more.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._suffix = f".{worker}.new"

    def path(self, origin: Origin) -> Path:
        """The partition's file."""
        return self._folder / origin.topic / f"{origin.partition}.snapshot"

    def tidy(self) -> None:
        """Takes away what this worker left unfinished when it was killed."""
        with suppress(OSError):  # they are in the way of nothing, and are written over
            for left in self._folder.glob(f"*/*{self._suffix}"):
                left.unlink()

    def find(self, origin: Origin, end: int, max_age_s: float) -> Snapshot | None:
        """The partition's snapshot where it can be used for a changelog that ends at `end`. Blocks."""
        path = self.path(origin)
        try:
            snapshot = read(path, origin)
            if end < snapshot.offset:
                raise UnusableSnapshot(f"it goes to offset {snapshot.offset}, and the changelog ends at {end}")
            age_s = time.time() - snapshot.asked_s
            if not 0 <= age_s <= max_age_s:
                raise UnusableSnapshot(
                    f"it is {age_s:.0f} s old, and tombstones are kept for {max_age_s:.0f} s at least"
                )
        except FileNotFoundError:
            return None
        except (OSError, UnusableSnapshot) as error:
            log.warning("snapshot_unused", file=str(path), reason=str(error), next_step="the changelog is read whole")
            return None
        return snapshot

    def save(self, origin: Origin, snapshot: Snapshot, should_continue: Callable[[], bool]) -> bool:
        """Writes the partition's file. Blocks; returns False if `should_continue` or the disk did not let it."""
        path = self.path(origin)
        new = path.with_name(path.name + self._suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("wb") as file:
                    if not _write(file, origin, snapshot, should_continue):
                        return False
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            remedy = "make room or set another folder; until then a recovery reads more of the changelog"
            log.warning("snapshot_not_written", file=str(path), error=str(error), next_step=remedy)
            return False
        return True


def read(path: Path, origin: Origin) -> Snapshot:
    """The snapshot in `path`; raises UnusableSnapshot if it is not one of `origin`, OSError if it cannot be read."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise UnusableSnapshot("it is no snapshot of this format")
    if blake2b(memoryview(data)[:-DIGEST_BYTES], digest_size=DIGEST_BYTES).digest() != data[-DIGEST_BYTES:]:
        raise UnusableSnapshot("it is damaged: its digest is another")
    (size,) = NUMBER.unpack_from(data, len(MAGIC))
    at = len(MAGIC) + NUMBER.size
    header = orjson.loads(data[at : at + size])
    if header["origin"] != asdict(origin):
        raise UnusableSnapshot(f"it is of {header['origin']}, and {asdict(origin)} is wanted")
    entries: dict[bytes, bytes] = {}
    for keys, values in _chunks(data, at + size):
        entries.update(zip(keys, values, strict=True))
    return Snapshot(entries, header["offset"], header["asked_s"])


def _write(file: BinaryIO, origin: Origin, snapshot: Snapshot, should_continue: Callable[[], bool]) -> bool:
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in _parts(origin, snapshot):
        digest.update(part)
        file.write(part)
        if not should_continue():
            return False
    file.write(digest.digest())
    return True


def _parts(origin: Origin, snapshot: Snapshot) -> Iterator[bytes]:
    header = orjson.dumps({"origin": asdict(origin), "offset": snapshot.offset, "asked_s": snapshot.asked_s})
    yield MAGIC + NUMBER.pack(len(header)) + header
    all_keys, all_values = iter(snapshot.entries.keys()), iter(snapshot.entries.values())
    while keys := list(islice(all_keys, CHUNK)):
        values = list(islice(all_values, CHUNK))
        lengths = [len(keys), *map(len, keys), *map(len, values)]
        yield b"".join([struct.pack(f"<{len(lengths)}I", *lengths), *keys, *values])


def _chunks(data: bytes, at: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    end = len(data) - DIGEST_BYTES
    while at < end:
        (count,) = NUMBER.unpack_from(data, at)
        lengths = struct.unpack_from(f"<{2 * count}I", data, at + NUMBER.size)
        begin = at + NUMBER.size + 2 * count * NUMBER.size
        cuts = list(accumulate(lengths, initial=begin))
        pieces = [data[a:b] for a, b in pairwise(cuts)]
        yield pieces[:count], pieces[count:]
        at = cuts[-1]
