"""The index of one partition's users who wait for events without a user, by what they wait for.

It is made from the states after the first event of a type, some users at a time, and kept from then on: whoever hears
no such event pays nothing. Until it is whole, an event is looked for in the bytes of all states, which takes some
0.1 µs each; one whose shared values have no text makes it whole at once. It belongs to one rule set, holds an entry for
each wait, and is never written: what it finds follows from the states alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from triggers.rules.encoding import running_of
from triggers.rules.events import StoredEvent
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence

SEARCHES = 10
"""The most events that are looked for without the whole index: where many come at once, no batch is between them."""


class EncodedStates(Protocol):
    """The states of a partition's users."""

    def __iter__(self) -> Iterator[bytes]: ...

    def get(self, key: bytes, /) -> bytes | None:
        """The user's state; None if there is none."""


class WaitingUsers:
    """Users by the keys of their waits, for the types of event that were asked for."""

    def __init__(self, rules: RuleSet, states: EncodedStates) -> None:
        self._rules = rules
        self._states = states
        self._types: set[str] = set()
        self._left: list[bytes] = []
        """The users who are not indexed yet."""
        self._in_find = 0
        """How many of them are indexed with each search."""
        self._users: dict[int, set[bytes]] = {}
        self._keys: dict[bytes, tuple[int, ...]] = {}

    def __len__(self) -> int:
        """The number of indexed users who wait."""
        return len(self._keys)

    def index(self, most: int) -> None:
        """Indexes up to so many users more, if the index is not whole."""
        for user in self._left[:most]:
            raw = self._states.get(user)
            if raw is not None:
                self.note(user, running_of(raw))
        del self._left[:most]

    def note(self, user: bytes, running: Sequence[Occurrence]) -> None:
        """Notes what a user waits for, by the occurrences that run."""
        keys = self._waits(running) if running else ()
        before = self._keys.get(user, ())
        if keys == before:
            return
        for key in before:
            users = self._users[key]
            users.discard(user)
            if not users:
                del self._users[key]
        for key in keys:
            self._users.setdefault(key, set()).add(user)
        if keys:
            self._keys[user] = keys
        else:
            del self._keys[user]

    def find(self, event: StoredEvent) -> list[bytes]:
        """The users who may wait for the event, in order of their ids."""
        if event.type not in self._types:
            self._types.add(event.type)
            self._left = [*self._states]
            self._in_find = len(self._left) // SEARCHES + 1
        keys = self._rules.waiting.met(event)
        if self._left and not all(self._rules.waiting.texts(event)):  # every state would have to be decoded each time
            self.index(len(self._left))
        if self._left:
            found = sorted(self._scan(event, {*keys}))
            self.index(self._in_find)
            return found
        return sorted(set[bytes]().union(*(self._users.get(key, ()) for key in keys)))

    def _scan(self, event: StoredEvent, keys: set[int]) -> Iterator[bytes]:
        """The same without the index. A text that must agree stands in the state, which has the entry event."""
        texts = self._rules.waiting.texts(event)
        for user in self._states:
            raw = self._states.get(user) or b""
            for text in texts:
                if text in raw:
                    if not keys.isdisjoint(self._waits(running_of(raw))):
                        yield user
                    break

    def _waits(self, running: Iterable[Occurrence]) -> tuple[int, ...]:
        rules, found = self._rules, list[int]()
        for occurrence in running:
            trigger = rules.followed(occurrence.trigger, occurrence.rule_hash)
            if trigger is not None:
                found += rules.waiting.keys(trigger, occurrence, self._types)
        return (*sorted({*found}),) if len(found) > 1 else (*found,)
