"""The append-only file of one sink: whole lines, each of which survives a later kill."""

import fcntl
import os
from pathlib import Path
from typing import IO

_BLOCK = 65_536


class LineFile:
    """Refuses a second sink on the same file. Removes a half-written line that a killed sink left at the end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{path}: another sink writes here; stop it first") from None
        self._cut_half_line()

    def _cut_half_line(self) -> None:
        """Removes a half-written line: a sink that was killed in the middle of it had not answered that mail."""
        size = end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)

    def add(self, line: bytes) -> None:
        """Appends one line, usually in one write."""
        data = memoryview(line + b"\n")
        while data:
            data = data[self._file.write(data) :]
