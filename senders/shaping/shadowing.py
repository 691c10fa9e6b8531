"""Rules without effect: another rule acts on each reply that they match, no later, and does at least as much."""

from collections.abc import Iterator, Sequence
from typing import Any

from senders.shaping.document import ActionKind, ActionScope, AutomationRule, RuleAction, ShapingDocument
from senders.shaping.patterns import ReplyPattern
from senders.shaping.quantities import SendRate
from senders.shaping.toml_positions import TomlPath

_WITHIN = {
    ActionScope.LANE: {ActionScope.LANE, ActionScope.SITE, ActionScope.PROVIDER, ActionScope.SOURCE},
    ActionScope.PROVIDER: {ActionScope.PROVIDER, ActionScope.SOURCE},
}
"""The scopes that contain a scope."""
_Rules = Sequence[tuple[TomlPath, AutomationRule]]


def shadowed_rules(document: ShapingDocument) -> Iterator[tuple[TomlPath, TomlPath]]:
    """The paths of rules without effect, each with the path of the rule that has it."""
    default = _placed(("default",), document.default.automation)
    yield from _shadowed(default, default)
    groups: tuple[tuple[str, Any], ...] = (
        ("provider", document.provider),
        ("site", document.site),
        ("domain", document.domain),
    )
    for kind, tables in groups:
        for name, table in tables.items():
            own = _placed((kind, name), table.automation)
            yield from _shadowed(own, own if table.replace_base else [*own, *default])


def _placed(path: TomlPath, rules: Sequence[AutomationRule]) -> _Rules:
    return [((*path, "automation", number), rule) for number, rule in enumerate(rules)]


def _shadowed(rules: _Rules, others: _Rules) -> Iterator[tuple[TomlPath, TomlPath]]:
    order = {path: number for number, (path, _) in enumerate(others)}
    for path, rule in rules:
        for other_path, other in others:
            if other_path == path or not _covers(other, rule):
                continue
            if not _covers(rule, other) or order[other_path] < order[path]:  # of two equal ones, the later
                yield path, other_path
                break


def _covers(wide: AutomationRule, rule: AutomationRule) -> bool:
    return (
        set(wide.state) >= set(rule.state)
        and _triggers_no_later(wide.trigger, rule.trigger)
        and wide.duration >= rule.duration
        and wide.scope in _WITHIN.get(rule.scope, {rule.scope})
        and all(any(_does(other, action) for other in wide.action) for action in rule.action)
        and _matches_all(wide.pattern, rule.pattern)
    )


def _triggers_no_later(wide: SendRate | None, rule: SendRate | None) -> bool:
    if wide is None or rule is None:
        return wide is None
    return wide.count <= rule.count and wide.period_s >= rule.period_s


def _does(wide: RuleAction, action: RuleAction) -> bool:
    """Whether one action leaves nothing to do for another."""
    if wide.kind is not ActionKind.SET:
        return action.kind is ActionKind.SET or wide.kind in (action.kind, ActionKind.HOLD)
    return (
        action.set is not None
        and wide.set is not None
        and all(getattr(wide.set, key) == getattr(action.set, key) for key in action.set.model_fields_set)
    )


def _matches_all(wide: Sequence[str], patterns: Sequence[str]) -> bool:
    texts = set(wide)
    literals = [literal for text in wide if (literal := ReplyPattern(text).literal)]
    return all(text in texts or _contains(text, literals) for text in patterns)


def _contains(text: str, literals: Sequence[str]) -> bool:
    own = ReplyPattern(text).literal
    return own is not None and any(literal in own for literal in literals)
