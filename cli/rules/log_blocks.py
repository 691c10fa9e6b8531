"""Cuts a file of lines, or of rows, into blocks that different processes can read, each in bounded memory."""

import gzip
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import IO, Protocol, Self

import orjson

from cli.parquet_files import json_value, parquet_table
from cli.text_files import STANDARD_INPUT, opened
from schemas.errors import UserError

MAX_LINE_BYTES = 1024 * 1024
"""The longest line: more than Kafka accepts as one record."""
BLOCK_BYTES = 4 * 1024 * 1024
"""A block is 0.1 s of reading or more, so handing it to another process costs little; two for each process are little
memory."""
SHORT_ROWS = 20_000
"""About as many events as a block has lines."""
_ROWS = 2_000
"""Rows of a Parquet file that are in memory at once."""
_MAPS = frozenset({"properties", "context", "attributes", "consent", "reply"})
"""The fields that are JSON objects. A column may have them as text."""
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"


class BadLog(UserError):
    """A file of lines cannot be read; the message names the file and the line."""


class LineBlock(Protocol):
    """Some consecutive lines of a file."""

    @property
    def first(self) -> int:
        """The number of its first line, from 1."""
        ...

    @property
    def done(self) -> int:
        """How much of the file is read with it: bytes, or rows."""
        ...

    def lines(self) -> Iterator[bytes]:
        """The lines. One that is too long may be cut, but not below the limit."""
        ...


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Lines of text."""

    first: int
    done: int
    text: bytes

    def lines(self) -> Iterator[bytes]:
        """The lines, without their ends."""
        return iter(self.text.split(b"\n"))


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where another process finds a file that is open here."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, file: IO[bytes]) -> Self | None:
        """The place of an open file; None for what can be read only once, and for a file without a name."""
        try:
            path, status = Path(file.name).resolve(), os.fstat(file.fileno())
            is_there = S_ISREG(status.st_mode) and os.path.samestat(status, path.stat())
        except (OSError, AttributeError, TypeError):
            return None
        return cls(path, status.st_dev, status.st_ino) if is_there else None

    def read(self, begin: int, size: int) -> bytes:
        """A part of the file; raises BadLog if it is no longer there."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(begin)
                text = file.read(size)
        except OSError as error:
            raise BadLog(f"{self.path}: cannot be read: {error.strerror or error}") from None
        if (status.st_dev, status.st_ino) != (self.device, self.inode) or len(text) < size:
            raise BadLog(f"{self.path}: moved or cut while it was read; read a copy of it")
        return text


@dataclass(frozen=True, slots=True)
class FileBlock:
    """Lines of an uncompressed file. They are read again where the block is used, which costs less than to send them
    there."""

    first: int
    done: int
    file: FilePlace
    begin: int
    size: int

    def lines(self) -> Iterator[bytes]:
        """The lines, without their ends."""
        return iter(self.file.read(self.begin, self.size).split(b"\n"))


@dataclass(frozen=True, slots=True)
class ParquetBlock:
    """A row group of a Parquet file. Its rows are read where the block is used."""

    first: int
    done: int
    path: Path
    group: int

    def lines(self) -> Iterator[bytes]:
        """The rows as JSON, without what is null."""
        from pyarrow import ArrowException

        with opened(self.path) as file:
            try:
                for batch in parquet_table(self.path, file).iter_batches(batch_size=_ROWS, row_groups=[self.group]):
                    yield from map(line_of_row, batch.to_pylist())
            except (ArrowException, OSError) as error:
                what = str(error).splitlines()[0][:100]
                raise BadLog(f"{self.path}: row group {self.group} cannot be read ({what})") from None


class LogFile:
    """A file of JSON lines, compressed with gzip if its name ends in `.gz`; rows of a `.parquet` file; `-` is standard
    input."""

    def __init__(self, path: Path, name: str = "") -> None:
        """`name` is what messages call it, if not by its path."""
        self.path = path
        self.name = name or ("<standard input>" if str(path) == STANDARD_INPUT else str(path))
        self.is_parquet = path.suffix.casefold() == ".parquet"

    def total(self) -> int | None:
        """What `LineBlock.done` comes to at the end; None for standard input."""
        if str(self.path) == STANDARD_INPUT:
            return None
        if self.is_parquet:
            with opened(self.path) as file:
                return int(parquet_table(self.path, file).metadata.num_rows)
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise BadLog(f"{self.name}: cannot be read: {error.strerror or error}") from None

    def blocks(self) -> Iterator[LineBlock]:
        """Every block in order. Raises BadLog if the file cannot be read to its end, after what can be read."""
        return self._row_groups() if self.is_parquet else self._texts()

    def _row_groups(self) -> Iterator[LineBlock]:
        with opened(self.path) as file:
            table = parquet_table(self.path, file)
            sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        done = 0
        for group, size in enumerate(sizes):
            yield ParquetBlock(done + 1, done + size, self.path, group)
            done += size

    def _texts(self) -> Iterator[LineBlock]:
        number, failed, kept, is_cut = 1, "", bytearray(), False
        with ExitStack() as stack:
            try:
                raw, stream = self._open(stack)
                place = FilePlace.of(raw) if stream is raw is not sys.stdin.buffer else None
                while not failed:
                    try:
                        chunk = _read(stream)
                    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                        chunk, failed = b"", f"not a whole gzip file: {error}"
                    if number == 1 and not kept:
                        check_encoding(self.name, chunk)
                        chunk = chunk.removeprefix(_BOM)
                    kept += chunk
                    end = kept.rfind(b"\n") + 1 if chunk else len(kept)
                    if end:
                        done = raw.tell() if raw.seekable() else 0
                        if place is None or is_cut:
                            yield TextBlock(number, done, bytes(kept[:end]))
                        else:
                            yield FileBlock(number, done, place, done - len(kept), end)
                        number += kept.count(b"\n", 0, end)
                        del kept[:end]
                        is_cut = False
                    elif len(kept) > MAX_LINE_BYTES:  # a line without an end stays small, and too long
                        del kept[MAX_LINE_BYTES + 1 :]
                        is_cut = True
                    if not chunk:
                        break
            except OSError as error:
                raise BadLog(f"{self.name}: cannot be read: {error.strerror or error}") from None
        if failed:
            raise BadLog(f"{self.name}:{number}: {failed}")

    def _open(self, stack: ExitStack) -> tuple[IO[bytes], IO[bytes] | gzip.GzipFile]:
        """The file, and the stream of its text."""
        if str(self.path) == STANDARD_INPUT:
            return sys.stdin.buffer, sys.stdin.buffer
        raw = stack.enter_context(self.path.open("rb"))
        if self.path.suffix == ".gz":
            return raw, stack.enter_context(gzip.GzipFile(fileobj=raw))
        return raw, raw


def _read(stream: IO[bytes] | gzip.GzipFile) -> bytes:
    """The next bytes, about a block; empty at the end. What was read before an error is not lost: it is raised by the
    next call."""
    parts: list[bytes] = []
    size = 0
    while size < BLOCK_BYTES:
        try:
            part = stream.read1(BLOCK_BYTES - size)  # type: ignore[union-attr]
        except (gzip.BadGzipFile, EOFError, zlib.error):
            if parts:
                break
            raise
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def check_encoding(name: str, begin: bytes) -> None:
    """Raises BadLog if the begin of a file is no UTF-8."""
    line = begin[: begin.find(b"\n") + 1] or begin[:MAX_LINE_BYTES]
    if line.startswith(_UTF_16) or line.count(b"\0") * 3 > len(line):
        raise BadLog(f"{name}:1: the log is UTF-16; save it as UTF-8")
    if line.startswith(_GZIP):
        raise BadLog(f"{name}:1: the log is gzip; give it a name that ends in .gz")


def line_of_row(row: Mapping[str, object]) -> bytes:
    """A row of a table as a line of JSON, without what is null."""
    return orjson.dumps({name: _cell(name, each) for name, each in row.items() if each is not None})


def _cell(name: str, value: object) -> object:
    """A cell as JSON can write it. A field that is an object may be text, a map or a struct without its nulls."""
    if name not in _MAPS:
        return json_value(value)
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value  # the model says what is wrong
    is_map = isinstance(value, list) and all(isinstance(each, tuple) and len(each) == 2 for each in value)
    pairs = dict(value) if is_map else value  # type: ignore[call-overload]
    if not isinstance(pairs, dict):
        return json_value(pairs)
    return {str(key): json_value(each) for key, each in pairs.items() if each is not None}
