"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO


@contextmanager
def whole_file(file: Path) -> Iterator[IO[bytes]]:
    """A new file beside `file`, which replaces it at the end of the block. If the block fails, `file` stays as it was.

    A link is replaced, and not followed. What is no file, such as /dev/stdout, is written to as it is.
    """
    if file.exists() and not file.is_file():
        with file.open("wb") as out:
            yield out
        return
    part = file.with_name(f".ebbtide-{token_hex(8)}.part")  # nobody else can have put a link there
    try:
        with _created(part, file) as out:
            yield out
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _created(part: Path, file: Path) -> IO[bytes]:
    try:
        return part.open("xb")
    except OSError as error:
        error.filename = str(file)  # the one that the person named
        raise
