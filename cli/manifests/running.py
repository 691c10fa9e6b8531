"""Which running occurrences a change touches, read from the states that stream workers keep."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from cli.manifests.changes import ManifestItem, RuleChange
from infra.kafka.topic_reader import read_all
from schemas.wording import counted
from triggers.rules.encoding import UnknownFormat, decode

How = Literal["withdrawn", "pin", "follow", "at_once"]
PINNED = frozenset({"unless", "when", "after", "send", "steps", "experiment"})
"""The keys of a trigger that occurrences keep as they began, unless `on_edit` is `follow`."""
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class RunningOccurrences:
    """The running occurrences of a trigger."""

    occurrences: int
    users: int
    sample: tuple[str, ...] = ()
    """A few of the users, to look at."""


@dataclass(frozen=True, slots=True)
class TouchedOccurrences:
    """Running occurrences that a change touches, and how: they end, keep some of the keys, follow all, or have nothing
    to keep."""

    trigger: str
    how: How
    running: RunningOccurrences
    keep: tuple[str, ...] = ()
    """The changed keys that they keep as they began."""
    follow: tuple[str, ...] = ()
    """The changed keys that apply to them at once."""

    def __str__(self) -> str:
        who = f"{counted(self.running.occurrences, 'running occurrence')} of {counted(self.running.users, 'user')}"
        if self.how == "withdrawn":
            return f"{who} ends with `withdrawn`" if self.running.occurrences == 1 else f"{who} end with `withdrawn`"
        keep = f"keep {_names(self.keep)} as they began" if self.keep else ""
        follow = f"take {_names(self.follow)} at once" if self.follow else ""
        return f"{who}: {'; '.join(filter(None, (keep, follow)))}"


Running = Mapping[str, RunningOccurrences]


def read_running(
    kafka: str, changelog: str, triggers: Collection[str], progress: Callable[[int], None] = lambda _: None
) -> Running:
    """The running occurrences of these triggers, by name; a trigger without one is left out.

    It reads the whole changelog of states, and keeps only who has such an occurrence. `progress` gets the number of
    records read. States of another version's format are left out.
    """
    records = ((each.key(), each.value()) for each in read_all(kafka, changelog)) if triggers else ()
    return count_running(records, triggers, progress)


def count_running(
    records: Iterable[tuple[bytes | None, bytes | None]],
    triggers: Collection[str],
    progress: Callable[[int], None] = lambda _: None,
) -> Running:
    """The same, from records of the changelog: of a user the last one counts."""
    names = [name.encode() for name in triggers]
    running: dict[bytes, Counter[str]] = {}
    for number, (key, raw) in enumerate(records, 1):
        if key is not None:
            counts = _of_state(key, raw, triggers) if raw and any(name in raw for name in names) else None
            if counts:
                running[key] = counts
            else:
                running.pop(key, None)
        if number % 10_000 == 0:
            progress(number)
    return {name: found for name in triggers if (found := _of_trigger(name, running)) is not None}


def _of_state(key: bytes, raw: bytes, triggers: Collection[str]) -> Counter[str]:
    try:
        state = decode(key.decode(errors="replace"), raw)
    except UnknownFormat:
        return Counter()
    return Counter(each.trigger for each in state.running if each.trigger in triggers)


def _of_trigger(name: str, running: Mapping[bytes, Counter[str]]) -> RunningOccurrences | None:
    users = sorted(key for key, found in running.items() if found[name])
    if not users:
        return None
    sample = tuple(user.decode(errors="replace") for user in users[:_SAMPLE])
    return RunningOccurrences(sum(running[user][name] for user in users), len(users), sample)


def touching(changes: Iterable[RuleChange]) -> set[str]:
    """The triggers whose running occurrences a change may touch."""
    return {each.name for each in changes if each.kind == "trigger" and (each.ends or each.edits)}


def touched(
    changes: Iterable[RuleChange], after: Mapping[tuple[str, str], ManifestItem], running: Running
) -> Iterator[TouchedOccurrences]:
    """What becomes of the running occurrences of each changed trigger that has some."""
    for change in changes:
        found = running.get(change.name) if change.kind == "trigger" else None
        if found is None:
            continue
        if change.ends:
            yield TouchedOccurrences(change.name, "withdrawn", found)
        elif keys := [key for key in dict.fromkeys(edit.key for edit in change.edits) if key not in _NEVER]:
            follows = after["trigger", change.name].value("on_edit", "pin") == "follow"
            keep = tuple(key for key in keys if key in PINNED and not follows)
            how: How = "follow" if follows else "pin" if keep else "at_once"
            yield TouchedOccurrences(change.name, how, found, keep, tuple(key for key in keys if key not in keep))


_NEVER = frozenset({"cases", "owner", "description"})
"""Keys that change nothing that runs."""


def _names(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
