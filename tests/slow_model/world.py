"""The slow model on a virtual clock, driven by the same calls as `drivers.trigger_world`."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from slow_model.duel import USER, EveryInstant, book_of
from slow_model.present import ExpectedWrites
from slow_model.rulebook import Book
from slow_model.timeline import EDITED, UserRecord, Versions, ms
from slow_model.user import SlowUser


def _ms(moment: str) -> int:
    return ms(_instant(moment))


def _instant(moment: str) -> str:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat()


class ModelWorld:
    """One user's history under rules that may change. `written` computes everything that was decided."""

    def __init__(self, rules: str, start: str, *, known: bool = True, **profile: Any) -> None:
        self.facts: list[UserRecord] = []
        self.now_ms = _ms(start)
        self._books = [book_of(rules)]
        self._edited_ms: list[int] = []
        if known:
            self.profile(start, **profile)

    def until(self, moment: str) -> None:
        """Lets time pass: each timer fires at its instant, those at `moment` too."""
        self.now_ms = _ms(moment)

    def event(
        self, moment: str, name: str, *, arrives: str | None = None, event_id: str = "", **properties: Any
    ) -> None:
        """An event of an instant, which arrives then or later."""
        body = {"id": event_id or f"e{len(self.facts)}", "type": name, "time": _instant(moment)}
        self._tell(arrives or moment, "events", body | {"properties": properties})

    def profile(
        self, moment: str, *, zone: str | None = "UTC", consent: tuple[str, ...] = ("marketing",), **attributes: Any
    ) -> None:
        """A new profile."""
        granted = {"granted": True, "time": _instant(moment)}
        body = {"user_id": USER, "zone": zone, "address": "u1@example.org", "attributes": attributes}
        self._tell(moment, "profiles", body | {"consent": dict.fromkeys(consent, granted)})

    def outcome(self, moment: str, kind: str, command: int) -> None:
        """An outcome of the command of this number."""
        self.until(moment)
        command_id = self.written().commands[command]["id"]
        body = {"id": f"o{len(self.facts)}", "command_id": command_id, "kind": kind, "time": _instant(moment)}
        self._tell(moment, "outcomes", body)

    def edit(self, moment: str, rules: str) -> None:
        """Other rules from an instant on."""
        self.until(moment)
        self._edited_ms.append(self.now_ms)
        self._books.append(book_of(rules))
        self._tell(moment, EDITED, {})

    def written(self) -> ExpectedWrites:
        """Everything decided and commanded up to now."""
        return SlowUser(USER, EveryInstant(self), self._book).decide()

    def versions(self, at_ms: int) -> Versions:
        """Which rules were in force at an instant."""
        return Versions(1 + sum(edited_ms <= at_ms for edited_ms in self._edited_ms), 0)

    def _tell(self, moment: str, topic: str, body: dict[str, Any]) -> None:
        self.until(moment)
        self.facts.append(UserRecord(len(self.facts) + 1, self.now_ms, self.versions(self.now_ms), topic, body))

    def _book(self, versions: Versions) -> tuple[Book, frozenset[str]]:
        *earlier, current = self._books[: versions.manifest]
        return replace(current, earlier=tuple(earlier)), frozenset()
