"""Snapshots: a table partition as a file, with the changelog offset from which a recovery continues.

Why (entries, offset) may replace the changelog before `offset`: the entries are the state at rest between two
checkpoints of the partition's owner. The offset is a last stable offset, requested before one of the owner's
checkpoints that then committed and so passed the group's check of its generation. So nobody else owned the partition
at the time of the request. Every record below the offset belongs to a finished transaction: those of earlier owners
were recovered, those of this owner are in the entries, and the rest were aborted. What the entries contain beyond the
offset is read again, which changes nothing: the last value of each key wins, and a recovery reads to the high
watermark, which is later than anything in the entries. A worker that lost its partitions without noticing has no such
offset, however late it writes its file.

When it may not: the topic was recreated (another id) or truncated (it ends before the offset); its partition count
changed; or a tombstone after the offset may have been removed, so the snapshot must be younger than half of the
changelog's delete.retention.ms. A file that is incomplete, damaged, or of another format or application cannot be used
either. In all these cases one line is logged, and the changelog is read from its beginning.

The entries are the bytes of the changelog, so a change of the application's codec affects both alike.

The file format: a magic line with the format's number; the length of a JSON header, and the header; then chunks: the
number of entries, the lengths of their keys and of their values, the keys, the values; finally a digest of everything
before. Numbers are little-endian with 32 bits. A new file replaces the old one by a rename, so each partition has one
complete file.
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
"""How many entries are joined at once: a fraction of a millisecond, after which the event loop can run."""
NUMBER = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Origin:
    """The changelog partition that a snapshot replaces."""

    application: str
    topic: str
    topic_id: str
    partitions: int
    partition: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A partition's entries, the changelog offset to continue from, and when that offset was requested."""

    entries: dict[bytes, bytes]
    offset: int
    requested_s: float
    """Seconds since 1970."""


class UnusableSnapshot(Exception):
    """The file cannot be used; the text has the reason."""


class SnapshotFolder:
    """The snapshots of a machine's workers: one file for each partition, written by its owner.

    `worker` names the unfinished files of one worker; two workers must not share it. A failure only costs a line in the
    log and a longer recovery.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._suffix = f".{worker}.new"

    def path(self, origin: Origin) -> Path:
        """The partition's file."""
        return self._folder / origin.topic / f"{origin.partition}.snapshot"

    def tidy(self) -> None:
        """Removes the files that this worker left unfinished when it was killed."""
        with suppress(OSError):  # they do no harm, and are overwritten
            for left in self._folder.glob(f"*/*{self._suffix}"):
                left.unlink()

    def drop_old(self, age_s: float) -> None:
        """Removes files that nobody has written for so long, such as those of partitions that moved to other machines.

        Blocks. What cannot be removed stays until the next call.
        """
        written_before_s = time.time() - age_s
        for file in self._folder.glob("*/*.snapshot"):
            with suppress(OSError):
                if file.stat().st_mtime < written_before_s:
                    file.unlink()

    def find(self, origin: Origin, end: int, max_age_s: float) -> Snapshot | None:
        """The partition's snapshot if it can be used for a changelog that ends at `end`. Blocks."""
        path = self.path(origin)
        try:
            snapshot = read(path, origin)
            if end < snapshot.offset:
                raise UnusableSnapshot(f"it goes to offset {snapshot.offset}, but the changelog ends at {end}")
            age_s = time.time() - snapshot.requested_s
            if not 0 <= age_s <= max_age_s:
                raise UnusableSnapshot(
                    f"it is {age_s:.0f} s old, but usable for {max_age_s:.0f} s only, while all tombstones are kept"
                )
        except FileNotFoundError:
            return None
        except (OSError, UnusableSnapshot) as error:
            log.warning(
                "snapshot_unused", file=str(path), reason=str(error), next_step="none: the whole changelog is read"
            )
            return None
        return snapshot

    def save(self, origin: Origin, snapshot: Snapshot, should_continue: Callable[[], bool]) -> bool:
        """Writes the partition's file. Blocks; returns False if `should_continue` ended it or the disk failed."""
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
            remedy = "free disk space or set another folder; until then a recovery reads more of the changelog"
            log.warning("snapshot_not_written", file=str(path), error=str(error), next_step=remedy)
            return False
        return True


def read(path: Path, origin: Origin) -> Snapshot:
    """The snapshot in `path`; raises UnusableSnapshot if it is not one of `origin`, OSError if it cannot be read."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise UnusableSnapshot("it is not a snapshot of this format")
    if blake2b(memoryview(data)[:-DIGEST_BYTES], digest_size=DIGEST_BYTES).digest() != data[-DIGEST_BYTES:]:
        raise UnusableSnapshot("it is damaged: its digest does not match")
    (size,) = NUMBER.unpack_from(data, len(MAGIC))
    at = len(MAGIC) + NUMBER.size
    header = orjson.loads(data[at : at + size])
    if header["origin"] != asdict(origin):
        raise UnusableSnapshot(f"it is a snapshot of {header['origin']}, not of {asdict(origin)}")
    entries: dict[bytes, bytes] = {}
    for keys, values in _chunks(data, at + size):
        entries.update(zip(keys, values, strict=True))
    return Snapshot(entries, header["offset"], header["asked_s"])


def keys_in(path: Path) -> set[bytes]:
    """The keys of all entries in a file, whatever its origin; raises UnusableSnapshot, OSError if it cannot be read."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise UnusableSnapshot("it is not a snapshot of this format")
    (size,) = NUMBER.unpack_from(data, len(MAGIC))
    return {key for keys, _ in _chunks(data, len(MAGIC) + NUMBER.size + size) for key in keys}


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
    header = orjson.dumps({"origin": asdict(origin), "offset": snapshot.offset, "asked_s": snapshot.requested_s})
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
