"""Rules without effect: another rule acts on each reply that they match, no later, and does at least as much."""

from collections.abc import Iterator, Sequence
from typing import Any

from senders.shaping.document import ActionKind, ActionScope, AutomationRule, RuleAction, ShapingDocument
from senders.shaping.patterns import literal_of
from senders.shaping.quantities import SendRate
from senders.shaping.toml_positions import TomlPath

_WITHIN = {
    ActionScope.LANE: {ActionScope.LANE, ActionScope.SITE, ActionScope.PROVIDER, ActionScope.SOURCE},
    ActionScope.PROVIDER: {ActionScope.PROVIDER, ActionScope.SOURCE},
}
"""The scopes that contain a scope."""


class _RuleGroup:
    """The rules of a table, and which of them match all that some patterns match. A text is compared only once."""

    def __init__(self, path: TomlPath, rules: Sequence[AutomationRule]) -> None:
        self.rules = rules
        self._path = path
        self._with_text: dict[str, set[int]] = {}
        self._matching: dict[str, set[int]] = {}
        for number, rule in enumerate(rules):
            for text in rule.pattern:
                self._with_text.setdefault(text, set()).add(number)
        literals = {text: literal_of(text) for text in self._with_text}
        self._literals = [(literal, self._with_text[text]) for text, literal in literals.items() if literal is not None]

    def path(self, number: int) -> TomlPath:
        """The path of the rule with this number."""
        return (*self._path, "automation", number)

    def matching(self, patterns: Sequence[str]) -> set[int]:
        """The numbers of the rules that match each reply that one of the patterns matches, as far as that shows."""
        found = self._matching_text(patterns[0])
        for text in patterns[1:]:
            found = found and found & self._matching_text(text)
        return found

    def _matching_text(self, text: str) -> set[int]:
        if text not in self._matching:
            own = literal_of(text)
            wider = [] if own is None else [numbers for literal, numbers in self._literals if literal in own]
            self._matching[text] = self._with_text.get(text, set()).union(*wider)
        return self._matching[text]


def shadowed_rules(document: ShapingDocument) -> Iterator[tuple[TomlPath, TomlPath]]:
    """The paths of rules without effect, each with the path of the rule that has it."""
    default = _RuleGroup(("default",), document.default.automation)
    yield from _shadowed(default, [default])
    groups: tuple[tuple[str, Any], ...] = (
        ("provider", document.provider),
        ("site", document.site),
        ("domain", document.domain),
    )
    for kind, tables in groups:
        for name, table in tables.items():
            own = _RuleGroup((kind, name), table.automation)
            yield from _shadowed(own, [own] if table.replace_base else [own, default])


def _shadowed(own: _RuleGroup, groups: Sequence[_RuleGroup]) -> Iterator[tuple[TomlPath, TomlPath]]:
    for number, rule in enumerate(own.rules):
        by = next((path for group in groups for path in _covering(own, number, rule, group)), None)
        if by is not None:
            yield own.path(number), by


def _covering(own: _RuleGroup, number: int, rule: AutomationRule, group: _RuleGroup) -> Iterator[TomlPath]:
    """The rules of a group that leave nothing to do for this one of our own; of two equal ones, the earlier."""
    for other_number in sorted(group.matching(rule.pattern)):
        other = group.rules[other_number]
        if other is rule or not _acts_as_much(other, rule):
            continue
        equal = _acts_as_much(rule, other) and number in own.matching(other.pattern)
        if not equal or (group is own and other_number < number):
            yield group.path(other_number)


def _acts_as_much(wide: AutomationRule, rule: AutomationRule) -> bool:
    return (
        wide.duration >= rule.duration
        and wide.scope in _WITHIN.get(rule.scope, {rule.scope})
        and _triggers_no_later(wide.trigger, rule.trigger)
        and set(wide.state) >= set(rule.state)
        and all(any(_does(other, action) for other in wide.action) for action in rule.action)
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
