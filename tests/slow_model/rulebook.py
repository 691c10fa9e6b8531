"""Rule texts as the slow model reads them: YAML with every scalar a text, durations in milliseconds, nothing compiled.

Covers the part of the language that the chaos rules use; a key that it does not know is an error, never ignored.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TRIGGER_KEYS = {
    *("trigger", "owner", "description", "mode", "purpose", "on", "key", "overlap", "reentry", "after", "unless"),
    *("when", "cap", "quiet", "expires", "max_age", "priority", "holdout", "send", "steps"),
}


@dataclass(frozen=True)
class Pattern:
    """An event: one of `types`, `where` true, the fields `same` equal to the entry event's."""

    types: tuple[str, ...]
    where: str | None = None
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class Level:
    """A score, or a count in a window, that crosses a line."""

    id: str
    falls: bool
    line: float
    rearm: float
    score: str | None = None
    pattern: Pattern | None = None
    within_ms: int = 0


@dataclass(frozen=True)
class Cap:
    """At most so many in a window: rolling by its milliseconds, or a calendar unit."""

    max: int
    per: str
    scope: str
    over: str

    @property
    def rolling_ms(self) -> int | None:
        return None if self.per.startswith("calendar ") else duration(self.per)


@dataclass(frozen=True)
class Quiet:
    """From one local minute to another, half-open, by the user's own clock or a zone's."""

    start: str
    end: str
    zone: str | None
    over: str


@dataclass(frozen=True)
class Send:
    """One message."""

    id: str
    template: str
    template_hash: str
    data: Mapping[str, str] = field(default_factory=dict)


Step = Send | int
"""A message, or a wait in milliseconds."""


@dataclass(frozen=True)
class Rule:
    """One trigger with the policies that it obeys."""

    name: str
    hash: str
    purpose: str
    mode: str
    percent: float
    patterns: tuple[Pattern, ...]
    levels: tuple[Level, ...]
    key: tuple[str, ...]
    overlap: str
    reentry_ms: int | Literal["never"]
    unless: tuple[Pattern, ...]
    when: str | None
    caps: tuple[Cap, ...]
    quiet: tuple[Quiet, ...]
    expires_ms: int
    max_age_ms: int
    priority: int
    holdouts: tuple[tuple[str, float], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Score:
    """Exponential; `add` holds patterns with the expression of their points."""

    name: str
    half_life_ms: int
    ceiling: float | None
    add: tuple[tuple[Pattern, str], ...]


@dataclass(frozen=True)
class Book:
    """One whole set of rules."""

    rules: Mapping[str, Rule]
    scores: Mapping[str, Score]

    @cached_property
    def patterns(self) -> Mapping[str, tuple[Pattern, ...]]:
        """By type of event, every pattern that reads it."""
        patterns = [pattern for score in self.scores.values() for pattern, _ in score.add]
        for rule in self.rules.values():
            patterns += [*rule.patterns, *rule.unless, *(each.pattern for each in rule.levels if each.pattern)]
        found: dict[str, tuple[Pattern, ...]] = {}
        for pattern in patterns:
            for name in pattern.types:
                found[name] = (*found.get(name, ()), pattern)
        return found


def duration(text: str) -> int:
    """`1h30m` in milliseconds."""
    parts = re.findall(r"(\d+)([smhdw])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"not a duration: {text}")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def read_book(texts: Iterable[tuple[str, Mapping[str, Any]]]) -> Book:
    """The set of the texts that a manifest names: pairs of hash and record."""
    texts = list(texts)
    templates = {PurePosixPath(t["path"]).stem: digest for digest, t in texts if t["kind"] == "template"}
    rules: dict[str, Rule] = {}
    scores: dict[str, Score] = {}
    policies: list[dict[str, Any]] = []
    for digest, text in texts:
        if text["kind"] != "rule":
            continue
        for document in yaml.load_all(text["body"], Loader=yaml.BaseLoader):
            if "trigger" in document:
                rules[document["trigger"]] = _rule(document, digest, templates)
            elif "score" in document:
                scores[document["score"]] = _score(document)
            else:
                policies.append(document)
    policies.sort(key=lambda policy: policy["policy"])
    return Book({name: _obeying(rule, policies) for name, rule in rules.items()}, scores)


def _many(node: Any) -> list[Any]:
    return [] if node is None else node if isinstance(node, list) else [node]


def _pattern(node: Any) -> Pattern:
    if isinstance(node, str):
        return Pattern((node,))
    return Pattern(tuple(_many(node["event"])), node.get("where"), tuple(_many(node.get("same"))))


def _rule(node: dict[str, Any], digest: str, templates: Mapping[str, str]) -> Rule:
    unknown = set(node) - _TRIGGER_KEYS
    if unknown:
        raise ValueError(f"the slow model does not know {sorted(unknown)} of {node['trigger']}")
    name, mode = node["trigger"], node.get("mode", "live")
    patterns, levels = [], []
    for number, source in enumerate(_many(node["on"])):
        plain = isinstance(source, str) or not {"score", "within", "inactive"} & set(source)
        if plain:
            patterns.append(_pattern(source))
        else:
            levels.append(_level(f"{name}#{number}", source))
    reentry = node.get("reentry", "always")
    steps = tuple(_step(step, templates) for step in ([{"send": node["send"]}] if "send" in node else node["steps"]))
    if "after" in node:
        steps = (duration(node["after"]), *steps)
    return Rule(
        name=name,
        hash=digest,
        purpose=node["purpose"],
        mode=mode.split()[0],
        percent=float(mode.split()[1].rstrip("%")) if mode.startswith("canary") else 100.0,
        patterns=tuple(patterns),
        levels=tuple(levels),
        key=tuple(_many(node.get("key"))),
        overlap=node.get("overlap", "restart"),
        reentry_ms="never" if reentry == "never" else 0 if reentry == "always" else duration(reentry),
        unless=tuple(map(_pattern, _many(node.get("unless")))),
        when=node.get("when"),
        caps=tuple(map(_cap, _many(node.get("cap")))),
        quiet=tuple(map(_quiet, _many(node.get("quiet")))),
        expires_ms=duration(node.get("expires", "1d")),
        max_age_ms=duration(node.get("max_age", "24h")),
        priority=int(node.get("priority", 50)),
        holdouts=((name, float(node["holdout"].rstrip("%"))),) if "holdout" in node else (),
        steps=steps,
    )


def _level(name: str, node: dict[str, Any]) -> Level:
    if "inactive" in node:
        node = {**node, "within": node["inactive"], "falls_below": "1"}
    falls = "falls_below" in node
    line = float(node["falls_below"] if falls else node["reaches"])
    rearm = float(node.get("rearm", line))
    if "score" in node:
        return Level(name, falls, line, rearm, score=node["score"])
    return Level(name, falls, line, rearm, pattern=_pattern(node), within_ms=duration(node["within"]))


def _step(node: dict[str, Any], templates: Mapping[str, str]) -> Step:
    if "wait" in node:
        return duration(node["wait"])
    send = node["send"] if isinstance(node["send"], dict) else {"template": node["send"]}
    template = send["template"]
    return Send(send.get("id", template), template, templates[template], send.get("data", {}))


def _cap(node: dict[str, Any]) -> Cap:
    return Cap(int(node["max"]), node["per"], node.get("scope", "trigger"), node.get("over", "drop"))


def _quiet(node: dict[str, Any]) -> Quiet:
    zone = node.get("zone", "user")
    return Quiet(node["from"], node["to"], None if zone == "user" else zone, node.get("over", "defer"))


def _score(node: dict[str, Any]) -> Score:
    add = tuple((_pattern(each), each["points"]) for each in _many(node["add"]))
    ceiling = float(node["ceiling"]) if "ceiling" in node else None
    return Score(node["score"], duration(node["decay"]["half_life"]), ceiling, add)


def _obeying(rule: Rule, policies: list[dict[str, Any]]) -> Rule:
    """Caps, quiet periods and holdouts of policies add to the rule's own; the smallest expiry holds."""
    for policy in policies:
        wanted = policy["for"].get("purpose")
        if wanted not in (None, rule.purpose) or (rule.purpose == "transactional" and wanted != "transactional"):
            continue
        if policy["for"].get("channel", "email") != "email":
            continue
        share = policy.get("holdout")
        held = ((f"policy/{policy['policy']}", float(share.rstrip("%"))),) if share else ()
        rule = replace(
            rule,
            caps=(*rule.caps, *map(_cap, _many(policy.get("cap")))),
            quiet=(*rule.quiet, *map(_quiet, _many(policy.get("quiet")))),
            holdouts=(*rule.holdouts, *held),
            expires_ms=min(rule.expires_ms, duration(policy.get("expires", "400d"))),
        )
    return rule
