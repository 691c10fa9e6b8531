"""The kill switch: numbered records on `control` pause and resume scopes. Workers apply them at once."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cli.auditing import NumberedChange, audit_numbered
from cli.environment import Environment
from cli.operations.numbered_records import publish_next
from infra.kafka.topic_reader import read_all
from schemas.addresses import plain_address
from schemas.codec import DecodeError, decode
from schemas.errors import UserError
from schemas.rules import DELIVERY, RETRIED_KINDS, Control
from schemas.switches import OlderNumber
from schemas.topics import CONTROL, RULES
from schemas.vocabulary import PauseMode
from schemas.wording import closest
from streams.decisions.rulefeed import RuleStore
from triggers.language.diagnostics import InvalidRules
from triggers.rules.ruleset import RuleSet

GLOBAL = "global"
EFFECT_S = 2
"""This many seconds after the command returns, no running worker sends what is paused."""
_OF_RULES = ("trigger", "purpose", "brand", "endpoint")
_OF_DELIVERY = (*_OF_RULES, "domain", "provider", "site", "source")
_SCOPE = re.compile(rf"global|({'|'.join(_OF_RULES)})/\S{{1,200}}|delivery(/({'|'.join(_OF_DELIVERY)})/\S{{1,200}})?")
EVERYTHING = "all"


class UnknownScope(UserError):
    """The scope names nothing of the current rules."""


def switch(kafka: str, scope: str, *, paused: bool, by: str = "", **more: Any) -> Control:
    """Pauses or resumes the scope, under the next number; raises UnknownScope. `more` are further fields."""
    _check(kafka, scope)
    return publish_switch(kafka, scope, paused=paused, by=by, **more)


def publish_switch(
    kafka: str,
    scope: str,
    *,
    paused: bool,
    by: str = "",
    check: Callable[[Control | None], None] = lambda _: None,
    **more: Any,
) -> Control:
    """Publishes a switch of this scope under the next number.

    `check` gets the latest record of its key, which no other writer replaces meanwhile. What it raises ends this, and
    nothing is published.
    """
    made: list[Control] = []

    def facts(number: int, found: Sequence[Control]) -> list[tuple[str, Control]]:
        latest = {known.key: known for known in _latest(found)}
        limits = latest[scope].limits if scope in latest else {}
        now = datetime.now(UTC)
        control = Control(number=number, scope=scope, paused=paused, by=by, at=now, limits=limits, **more)
        check(latest.get(control.key))
        made.append(control)
        return [(control.key, control)]

    publish_next(kafka, CONTROL, "control", lambda: _controls(kafka), facts)
    return made[-1]


def audit_switch(environment: Environment, made: Control) -> None:
    """Adds a switch that was published to the audit, and those before it that are not there."""
    audit_numbered(environment, CONTROL.name, made.number, lambda: _numbered(_controls(environment.kafka)))


def _numbered(found: Sequence[Control]) -> Iterator[NumberedChange]:
    before: dict[str, Control] = {}
    for control in sorted(found, key=lambda each: each.number):
        known = before.get(control.key)
        yield NumberedChange(
            control.number, control.by, "switch", control.key, None if known is None else _said(known), _said(control)
        )
        before[control.key] = control


def _said(control: Control) -> dict[str, Any]:
    return {"words": switch_words(control), **control.model_dump(mode="json", exclude_defaults=True)}


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
    latest = {control.key: control for control in sorted(found, key=lambda control: control.number)}
    return [latest[key] for key in sorted(latest)]


def delivery_scope(scope: str, *, retried: bool = False) -> str:
    """The scope on `control` of what people call this in delivery; raises UnknownScope, also if it is to be retried and
    cannot be."""
    kinds, what = (RETRIED_KINDS, "that can be retried") if retried else (_OF_DELIVERY, "of delivery")
    full = DELIVERY if scope == EVERYTHING else f"{DELIVERY}/{scope}"
    kind, _, name = scope.partition("/")
    if not _SCOPE.fullmatch(full) or scope == DELIVERY or (name and kind not in kinds):
        raise UnknownScope(f"{scope!r} is not a scope {what}; write {_listed(EVERYTHING, kinds)}")
    return f"{DELIVERY}/domain/{_domain(name)}" if kind == "domain" else full


def _listed(first: str, kinds: Sequence[str]) -> str:
    *named, last = (f"{kind}/NAME" for kind in kinds)
    return f"{', '.join([first, *named])} or {last}"


def _domain(name: str) -> str:
    try:
        return plain_address(f"a@{name}").rpartition("@")[2].lower()
    except ValueError:
        raise UnknownScope(f"{name!r} is not a domain; write it as shop.example") from None


def switch_words(control: Control) -> str:
    """What a switch does, in words."""
    scope = control.scope.removeprefix(f"{DELIVERY}/")
    named = f"{scope} in delivery" if control.scope.startswith(DELIVERY) and scope != DELIVERY else scope
    if control.retry:
        return f"{named} is retried"
    if control.trace:
        return f"conversations with {scope.removeprefix('domain/')} are traced"
    if control.values:
        end = f"until {control.until:%Y-%m-%d %H:%M:%S} UTC" if control.until else "from now on"
        over = control.until is not None and control.until <= control.at
        return f"{_values(control)} for {scope} is over" if over else f"{_values(control)} for {scope} {end}"
    if not control.paused:
        return f"{named} is resumed"
    did = {PauseMode.HOLD: "paused", PauseMode.DISCARD: "paused, and discarded", PauseMode.DRAIN: "drained"}
    until = f" until {control.until:%Y-%m-%d %H:%M:%S} UTC" if control.until else ""
    return f"{named} is {did[control.mode]}{until}"


def switch_line(control: Control) -> str:
    """When, the number, the scope, and what is known beside it."""
    more = [_values(control), f"{control.mode}" if control.paused and control.mode is not PauseMode.HOLD else ""]
    ends = control.until if control.paused or control.values else None
    more += [f"until {ends:%Y-%m-%d %H:%M:%S}" if ends else ""]
    more += [f"by {control.by}" if control.by else "", control.why]
    return f"{control.at:%Y-%m-%d %H:%M:%S}  {control.number:>4}  " + "  ".join([control.scope, *filter(None, more)])


def _values(control: Control) -> str:
    return ", ".join(f"{key} = {str(value).lower()}" for key, value in control.values.items())


def _check(kafka: str, scope: str) -> None:
    if not _SCOPE.fullmatch(scope):
        raise UnknownScope(f"{scope!r} is not a scope; write {_listed(GLOBAL, _OF_RULES)}")
    scope = scope.removeprefix(DELIVERY).lstrip("/")
    rules = running_rules(kafka) if scope.partition("/")[0] in _OF_RULES else None
    if rules is None:  # what rules do not name needs no check, and without rules there are no names to compare
        return
    named = _names(rules)
    if scope in named:
        return
    known = named | {control.scope for control in switches(kafka)}  # a paused rule may have been removed
    if scope in known:
        return
    raise UnknownScope(unknown_words(scope, known))


def unknown_words(scope: str, known: Iterable[str]) -> str:
    """Says that rules do not name the scope, and which scope of its kind has a name like it, or all of its kind."""
    kind, _, name = scope.partition("/")
    names = {other.partition("/")[2] for other in known if other.startswith(f"{kind}/")}
    near = closest(name, names)
    listed = ", ".join(f"{kind}/{other}" for other in sorted(names)) or "none"
    hint = f"did you mean {kind}/{near}?" if near else f"known: {listed}"
    return f"no {kind} {name!r} in the current rules; {hint}"


def _names(rules: RuleSet) -> set[str]:
    """The scopes that rules name."""
    kinds = {"trigger": rules.triggers.keys(), "brand": rules.brands.keys(), "endpoint": rules.endpoints.keys()}
    found = {f"{kind}/{name}" for kind, names in kinds.items() for name in names}
    purposes = {purpose for trigger in rules.triggers.values() for purpose in (trigger.purpose, trigger.consent)}
    return found | {f"purpose/{purpose}" for purpose in purposes}


def running_rules(kafka: str) -> RuleSet | None:
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
