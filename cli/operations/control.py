"""The kill switch: numbered records on `control` pause and resume scopes. Workers apply them at once."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from cli.operations.numbered_records import publish_next
from infra.kafka.topic_reader import read_all
from schemas.codec import DecodeError, decode
from schemas.errors import UserError
from schemas.rules import Control
from schemas.switches import OlderNumber
from schemas.topics import CONTROL, RULES
from streams.decisions.rulefeed import RuleStore
from triggers.language.diagnostics import InvalidRules
from triggers.rules.ruleset import RuleSet

GLOBAL = "global"
EFFECT_S = 2
"""This many seconds after the command returns, no running worker sends what is paused."""
_SCOPE = re.compile(r"global|(trigger|purpose)/\S{1,200}")


class UnknownScope(UserError):
    """The scope names no trigger and no purpose of the current rules."""


def switch(kafka: str, scope: str, *, paused: bool, by: str = "", **more: Any) -> Control:
    """Pauses or resumes the scope, under the next number; raises UnknownScope. `more` are further fields."""
    _check(kafka, scope)
    return publish_switch(kafka, scope, paused=paused, by=by, **more)


def publish_switch(kafka: str, scope: str, *, paused: bool, by: str = "", **more: Any) -> Control:
    """Publishes a switch of this scope under the next number."""
    made: list[Control] = []

    def facts(number: int, found: Sequence[Control]) -> list[tuple[str, Control]]:
        limits = next((known.limits for known in _latest(found) if known.scope == scope), {})
        now = datetime.now(UTC)
        control = Control(number=number, scope=scope, paused=paused, by=by, at=now, limits=limits, **more)
        made.append(control)
        return [(scope, control)]

    publish_next(kafka, CONTROL, "control", lambda: _controls(kafka), facts)
    return made[-1]


def switches(kafka: str) -> list[Control]:
    """The latest switch of every scope that has one, ordered by scope."""
    return _latest(_controls(kafka))


def _controls(kafka: str) -> list[Control]:
    found = []
    for message in read_all(kafka, CONTROL.name):
        try:
            found.append(decode(Control, message.value()))
        except DecodeError:  # not a switch: workers log it, and ignore it too
            continue
    return found


def _latest(found: Sequence[Control]) -> list[Control]:
    latest = {control.scope: control for control in sorted(found, key=lambda control: control.number)}
    return [latest[scope] for scope in sorted(latest)]


def _check(kafka: str, scope: str) -> None:
    if not _SCOPE.fullmatch(scope):
        raise UnknownScope(f"{scope!r} is not a scope; write global, trigger/NAME or purpose/NAME")
    rules = None if scope == GLOBAL else _running_rules(kafka)
    if rules is None:  # `global` needs no check, and without rules there are no names to compare
        return
    named = {f"trigger/{name}" for name in rules.triggers} | {f"purpose/{t.purpose}" for t in rules.triggers.values()}
    if scope in named:
        return
    known = named | {control.scope for control in switches(kafka)}  # a paused rule may have been removed
    if scope in known:
        return
    kind, _, name = scope.partition("/")
    near = get_close_matches(scope, known, 1)
    listed = ", ".join(sorted(other for other in known if other.startswith(f"{kind}/"))) or "none"
    hint = f"did you mean {near[0]}?" if near else f"known: {listed}"
    raise UnknownScope(f"no {kind} {name!r} in the current rules; {hint}")


def _running_rules(kafka: str) -> RuleSet | None:
    """The current rules, read as a worker reads them; None if there are none, or they do not load."""
    store = RuleStore()
    for message in read_all(kafka, RULES.name):
        try:
            store.put(RULES.name, (message.key() or b"").decode(errors="replace"), message.value())
        except (DecodeError, OlderNumber):  # workers log it, and ignore it too
            continue
    try:
        published = store.load()
    except InvalidRules:
        return None
    return None if published is None else published.rules
