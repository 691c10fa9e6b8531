"""Which events without a user an occurrence waits for: by type, and by the values that it shares with its entry event.

Such an event reaches an occurrence by a pattern with `same`, in `unless` and `wait_for` only. A wait key is the hash of
the type, the fields and their values, so that a table of keys finds the occurrences without asking each. Two different
waits may share a key: what is found is asked again.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from triggers.rules.events import StoredEvent
from triggers.rules.rule import Pattern, Trigger, WaitFor
from triggers.rules.state import Occurrence

Wait = tuple[str, tuple[str, ...]]
"""A type of event, and the fields that it shares with the entry event."""
_MISSING = object()


class WaitingPatterns:
    """The patterns of a rule set by which occurrences wait for events without a user."""

    def __init__(self, triggers: Iterable[Trigger]) -> None:
        self._of_rule: dict[tuple[str, str], tuple[Wait, ...]] = {}
        """By the hash of a rule's text and its name."""
        self._fields: dict[str, set[tuple[str, ...]]] = {}
        for trigger in triggers:
            waits = {(name, pattern.same) for pattern in waiting_patterns(trigger) for name in pattern.types}
            if waits:
                self._of_rule[trigger.rule_hash, trigger.name] = (*sorted(waits),)
            for name, fields in waits:
                self._fields.setdefault(name, set()).add(fields)

    def __contains__(self, event_type: str) -> bool:
        """Whether an occurrence may wait for events of this type without a user."""
        return event_type in self._fields

    def met(self, event: StoredEvent) -> list[int]:
        """The keys of all waits that the event may meet."""
        return _keys([(event.type, fields) for fields in self._fields.get(event.type, ())], event.properties)

    def texts(self, event: StoredEvent) -> list[bytes]:
        """For each wait that the event may meet, a text that stands in the encoded state of everybody who waits so.

        It is empty, and stands everywhere, if no field that must agree is a text.
        """
        properties, found = event.properties, list[bytes]()
        for fields in self._fields.get(event.type, ()):
            texts = [value.encode() for field in fields if isinstance(value := properties.get(field), str)]
            found.append(max(texts, key=len, default=b""))
        return found

    def keys(self, trigger: Trigger, occurrence: Occurrence, types: Collection[str]) -> list[int]:
        """The keys of the waits of an occurrence that follows the trigger, for events of these types."""
        waits = [wait for wait in self._of_rule.get((trigger.rule_hash, trigger.name), ()) if wait[0] in types]
        return _keys(waits, occurrence.event.properties) if waits else []


def waiting_patterns(trigger: Trigger) -> Iterator[Pattern]:
    """The patterns by which the trigger's occurrences wait for events without a user."""
    patterns = [*trigger.unless, *(step.pattern for step in trigger.steps if isinstance(step, WaitFor))]
    return (pattern for pattern in patterns if pattern.same)


def _keys(waits: Iterable[Wait], properties: dict[str, Any]) -> list[int]:
    found = []
    for name, fields in waits:
        values = [properties.get(field, _MISSING) for field in fields]
        if _MISSING not in values:
            found.append(hash((name, fields, *map(_hashable, values))))
    return found


def _hashable(value: Any) -> Any:
    """A value that is equal for equal JSON values, and can be hashed."""
    if value.__class__ is list:
        return tuple(map(_hashable, value))
    if value.__class__ is dict:
        return frozenset((name, _hashable(each)) for name, each in value.items())
    return value
