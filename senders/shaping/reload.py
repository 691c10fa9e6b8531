"""Takes up a shaping file that has changed, without a restart. A file with a mistake leaves the old one in force."""

from pathlib import Path

import structlog

from schemas.errors import UserError
from senders.shaping.file import ShapingFile
from senders.shaping.findings import InvalidShaping
from senders.shaping.loader import load, read


class ShapingReload:
    """Asked now and then; reads the file each time, which is small. One for a process."""

    def __init__(self, path: Path) -> None:
        """Raises UserError if the first file cannot be used: then nobody knows what the limits are."""
        self._path = path
        self._seen = read(path)
        self.file = load(path)
        self.problem: str | None = None
        """Why the last content of the file is not in force."""
        self._log = structlog.get_logger("senders.shaping.reload")

    def changed(self) -> ShapingFile | None:
        """The new file, if there is another one that can be used since the last question."""
        try:
            raw = read(self._path)
            if raw == self._seen:
                return None
            self._seen = raw
            file = load(self._path)
        except UserError as error:
            self._refused(error)
            return None
        self.problem = None
        if file.hash == self.file.hash:
            return None
        self.file = file
        self._log.info("shaping_reloaded", path=str(self._path), hash=file.hash)
        return file

    def _refused(self, error: UserError) -> None:
        """Logged once for each content, not at each question."""
        self.problem = error.line
        if isinstance(error, InvalidShaping) or self._seen != b"":
            self._log.error("shaping_refused", reason=error.line, in_force=self.file.hash)
        if not isinstance(error, InvalidShaping):
            self._seen = b""
