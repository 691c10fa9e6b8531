"""Template texts by their hash, compiled when first used."""

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from threading import Lock

from schemas.rules import Text
from senders.content.render import Template, TemplateError, parse_template


class TemplateCache:
    """Templates by hash. One thread writes, another reads."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}
        self._compiled: dict[str, Template | TemplateError] = {}
        self._lock = Lock()
        self._complete_since: datetime | None = None

    def complete(self, now: datetime) -> None:
        """Note that all published templates are in the cache. Only the first call counts."""
        if self._complete_since is None:
            self._complete_since = now

    def waited(self, since: datetime, now: datetime) -> timedelta:
        """How long a command that needs a missing template since `since` has waited for it.

        The time before the cache was complete does not count: after a restart, a command that was admitted long ago
        must not fail because its template is not read yet.
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
        """The compiled template, None if it is missing; raises TemplateError if it does not compile."""
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
