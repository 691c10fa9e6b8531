"""Rule texts into the slow model's book: YAML with every scalar a text. An unknown key is an error, never ignored."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import yaml
from slow_model.rulebook import (
    Anniversary,
    Book,
    Border,
    Cap,
    Curve,
    Exit,
    Goal,
    If,
    Level,
    Measure,
    Pattern,
    Pause,
    Quiet,
    Rule,
    Schedule,
    Score,
    Send,
    Sequence,
    Step,
    Steps,
    Until,
    Wait,
    WaitFor,
    Window,
)

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TRIGGER_KEYS = {
    *("trigger", "owner", "description", "mode", "purpose", "on", "key", "overlap", "reentry", "after", "unless"),
    *("when", "cap", "quiet", "expires", "max_age", "settle", "priority", "holdout", "experiment", "goal"),
    *("on_edit", "send", "steps", "cases", "brand", "budget"),
}
_LEVEL_KEYS = {"score", "within", "inactive", "reaches", "falls_below"}
Node = dict[str, Any]


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
    book = Book({}, {}, {}, {})
    rules: dict[str, Rule] = {}
    scores: dict[str, Score] = {}
    policies: list[Node] = []
    for digest, text in texts:
        if text["kind"] != "rule":
            continue
        for document in yaml.load_all(text["body"], Loader=yaml.BaseLoader):
            if "trigger" in document:
                rules[document["trigger"]] = _rule(document, digest, templates)
            elif "score" in document:
                scores[document["score"]] = _score(document)
            elif "metric" in document:
                book = replace(book, metrics={**book.metrics, document["metric"]: _measure(document)})
            elif "segment" in document:
                book = replace(book, segments={**book.segments, document["segment"]: document["when"]})
            elif "policy" in document:
                policies.append(document)
            elif not {"endpoint", "brand"} & set(document):
                raise ValueError(f"the slow model does not know the document {next(iter(document))}")
    policies.sort(key=lambda policy: policy["policy"])
    obeying = {name: _obeying(rule, policies) for name, rule in rules.items()}
    return replace(book, rules=obeying, scores=scores)


def _many(node: Any) -> list[Any]:
    return [] if node is None else node if isinstance(node, list) else [node]


def _pattern(node: Any) -> Pattern:
    if isinstance(node, str):
        return Pattern((node,))
    return Pattern(tuple(_many(node["event"])), node.get("where"), tuple(_many(node.get("same"))))


def _zone(node: Node) -> str | None:
    zone = node.get("zone", "user")
    return None if zone == "user" else zone


def window(text: str) -> Window:
    """`3d`, `calendar week` or `ever`."""
    if text.startswith("calendar "):
        return Window(unit=text.removeprefix("calendar "))
    return Window() if text == "ever" else Window(duration(text))


def _rule(node: Node, digest: str, templates: Mapping[str, str]) -> Rule:
    unknown = set(node) - _TRIGGER_KEYS
    if unknown:
        raise ValueError(f"the slow model does not know {sorted(unknown)} of {node['trigger']}")
    name, mode = node["trigger"], node.get("mode", "live")
    reentry = node.get("reentry", "always")
    steps = _steps([{"send": node["send"]}] if "send" in node else node["steps"], templates)
    if "after" in node:
        steps = (_wait(node["after"]), *steps)
    experiment = node.get("experiment", {"variants": {}})
    return Rule(
        name=name,
        hash=digest,
        purpose=node["purpose"],
        brand=node.get("brand"),
        budgets=tuple(_budget(f"trigger/{name}", node.get("budget"))),
        mode=mode.split()[0],
        percent=float(mode.split()[1].rstrip("%")) if mode.startswith("canary") else 100.0,
        **_sources(name, _many(node["on"])),
        key=tuple(_many(node.get("key"))),
        overlap=node.get("overlap", "restart"),
        reentry_ms="never" if reentry == "never" else 0 if reentry == "always" else duration(reentry),
        unless=tuple(map(_pattern, _many(node.get("unless")))),
        when=node.get("when"),
        caps=tuple(map(_cap, _many(node.get("cap")))),
        quiet=tuple(map(_quiet, _many(node.get("quiet")))),
        expires_ms=duration(node.get("expires", "1d")),
        max_age_ms=duration(node.get("max_age", "24h")),
        settle_ms=duration(node.get("settle", "0s")),
        priority=int(node.get("priority", 50)),
        holdouts=((name, float(node["holdout"].rstrip("%"))),) if "holdout" in node else (),
        steps=steps,
        variants=tuple((variant, float(weight)) for variant, weight in experiment["variants"].items()),
        salt=experiment.get("salt", name),
        goal=Goal(_pattern(node["goal"]), duration(node["goal"]["within"])) if "goal" in node else None,
        follows=node.get("on_edit") == "follow",
    )


def _sources(rule: str, nodes: list[Any]) -> dict[str, Any]:
    """What `on` lists, by kind; each source that keeps something has the id RULE#NUMBER."""
    found: dict[str, list[Any]] = {"patterns": [], "levels": [], "sequences": [], "borders": []}
    found |= {"schedules": [], "dates": []}
    for number, node in enumerate(nodes):
        name = f"{rule}#{number}"
        if isinstance(node, str):
            found["patterns"].append(_pattern(node))
        elif "sequence" in node:
            patterns = tuple(map(_pattern, node["sequence"]))
            same = tuple(_many(node.get("same")))
            found["sequences"].append(Sequence(name, patterns, duration(node["within"]), same))
        elif "enters" in node or "leaves" in node:
            found["borders"].append(Border(node.get("enters") or node["leaves"], "enters" in node))
        elif "every" in node:
            found["schedules"].append((name, _schedule(node)))
        elif "date" in node:
            found["dates"].append((name, _anniversary(node)))
        elif _LEVEL_KEYS & set(node):
            found["levels"].append(_level(name, node))
        else:
            found["patterns"].append(_pattern(node))
    return {kind: tuple(sources) for kind, sources in found.items()}


def _measure(node: Node) -> Measure:
    return Measure(_pattern(node), window(node["within"]), node.get("sum"), node.get("distinct"))


def _level(name: str, node: Node) -> Level:
    if "inactive" in node:
        node = {**node, "within": node["inactive"], "falls_below": "1"}
    falls = "falls_below" in node
    line = float(node["falls_below"] if falls else node["reaches"])
    rearm = float(node.get("rearm", line))
    if "score" in node:
        return Level(name, falls, line, rearm, score=node["score"])
    return Level(name, falls, line, rearm, measure=_measure(node))


def _schedule(node: Node) -> Schedule:
    return Schedule(tuple(_many(node["every"])), node["at"], node.get("day", "1"), _zone(node))


def _anniversary(node: Node) -> Anniversary:
    offset = duration(node["after"]) if "after" in node else -duration(node.get("before", "0s"))
    return Anniversary(node["date"], offset, node.get("at"), node.get("yearly") == "true", _zone(node))


def _wait(node: Any) -> Wait:
    if isinstance(node, str):
        return Pause(duration(node))
    return Until(node["until"]) if "until" in node else _schedule(node)


def _steps(nodes: Any, templates: Mapping[str, str]) -> Steps:
    return tuple(_step(node, templates) for node in _many(nodes))


def _step(node: Any, templates: Mapping[str, str]) -> Step:
    if node == "exit":
        return Exit()
    if "wait" in node:
        return _wait(node["wait"])
    if "wait_for" in node:
        then, otherwise = (_steps(node.get(part), templates) for part in ("then", "else"))
        return WaitFor(_pattern(node["wait_for"]), _wait(node["up_to"]), then, otherwise)
    if "if" in node:
        return If(node["if"], _steps(node["then"], templates), _steps(node.get("else"), templates))
    send = node["send"] if isinstance(node["send"], dict) else {"template": node["send"]}
    if "webhook" in send:
        endpoint = send["webhook"]
        return Send(send.get("id", endpoint), endpoint, "", send.get("data", {}), "webhook")
    template = send["template"]
    return Send(send.get("id", template), template, templates[template], send.get("data", {}))


def _cap(node: Node) -> Cap:
    over, scope = node.get("over", "drop"), node.get("scope", "trigger")
    spread = node.get("spread")
    spread_ms = duration(spread) if spread else 0
    return Cap(node["max"], node["per"], window(node["per"]), scope, over, spread, spread_ms)


def _quiet(node: Node) -> Quiet:
    over = node.get("over", "defer")
    days = tuple(_many(node.get("days")))
    return Quiet(node["from"], node.get("to", ""), _zone(node), over, days, node.get("through"))


def _score(node: Node) -> Score:
    add = tuple((_pattern(each), each["points"]) for each in _many(node["add"]))
    ceiling = float(node["ceiling"]) if "ceiling" in node else None
    decay = node["decay"]
    ms = next(duration(decay[key]) for key in ("half_life", "lifetime", "scale") if key in decay)
    return Score(node["score"], Curve(decay["curve"], ms, float(decay.get("exponent", 1))), ceiling, add)


def _budget(name: str, node: Node | None) -> Iterable[dict[str, Any]]:
    """A budget as mails carry it; of a calendar window the zone is the project's."""
    if node is not None:
        per = window(node["per"])
        span = {"per_ms": per.ms} if per.unit is None else {"unit": per.unit, "zone": "UTC"}
        yield {"name": name, "max": int(node["max"]), **span}


def _mails(steps: Steps) -> bool:
    """Whether any step sends a mail."""
    found = [step for step in steps if isinstance(step, Send) and step.channel == "email"]
    return bool(found) or any(_mails((*step.then, *step.otherwise)) for step in steps if isinstance(step, If))


def _obeying(rule: Rule, policies: list[Node]) -> Rule:
    """Caps, quiet periods and holdouts of policies add to the rule's own; the smallest expiry holds."""
    for policy in policies:
        wanted = policy["for"].get("purpose")
        if wanted not in (None, rule.purpose) or (rule.purpose == "transactional" and wanted != "transactional"):
            continue
        channel = policy["for"].get("channel")
        if channel is not None and (channel != "email" or not _mails(rule.steps)):
            continue
        if policy["for"].get("brand", rule.brand) != rule.brand:
            continue
        share = policy.get("holdout")
        held = ((f"policy/{policy['policy']}", float(share.rstrip("%"))),) if share else ()
        rule = replace(
            rule,
            caps=(*rule.caps, *map(_cap, _many(policy.get("cap")))),
            quiet=(*rule.quiet, *map(_quiet, _many(policy.get("quiet")))),
            holdouts=(*rule.holdouts, *held),
            expires_ms=min(rule.expires_ms, duration(policy.get("expires", "400d"))),
            budgets=(*rule.budgets, *_budget(f"policy/{policy['policy']}", policy.get("budget"))),
        )
    return rule
