"""Template texts by their hash, compiled when first used."""

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from threading import Lock

from schemas.rules import Text
from senders.content.render import Template, TemplateError, parse_template


class TemplateCache:
    """Templates by hash. One thread fills it, another reads it."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}
        self._compiled: dict[str, Template | TemplateError] = {}
        self._lock = Lock()
        self._complete_since: datetime | None = None

    def complete(self, now: datetime) -> None:
        """Note that all published templates are here; only the first call counts."""
        if self._complete_since is None:
            self._complete_since = now

    def waited(self, since: datetime, now: datetime) -> timedelta:
        """How long a template has been missing that a command has needed since `since`.

        Counts from the moment at which the cache was complete: after a restart, a command that was admitted long ago
        must not fail for a template that is still being read.
        """
        return timedelta(0) if self._complete_since is None else now - max(since, self._complete_since)

    def put(self, digest: str, text: Text) -> None:
        """Keep a template's text."""
        with self._lock:
            self._texts[digest] = text

    def drop(self, digest: str) -> None:
        """Remove a template that no rule refers to any more."""
        with self._lock:
            self._texts.pop(digest, None)
            self._compiled.pop(digest, None)

    def get(self, digest: str) -> Template | None:
        """The compiled template, or None if it is missing. Raises TemplateError if it does not compile."""
        with self._lock:
            text = self._texts.get(digest)
            if text is None:
                return None
            if digest not in self._compiled:
                self._compiled[digest] = _compiled(text)
            found = self._compiled[digest]
        if isinstance(found, TemplateError):
            raise found
        return found


def _compiled(text: Text) -> Template | TemplateError:
    try:
        return parse_template(PurePosixPath(text.path).stem, text.body)
    except TemplateError as problem:
        return problem
