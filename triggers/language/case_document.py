"""The key `cases` of a trigger: examples written beside the rule, run by `triggers.cases.case_runner`."""

from typing import Any

from schemas.vocabulary import Reason
from schemas.wording import nearest, quoted
from triggers.language import keys, reader, time_shapes
from triggers.language.case_time import CaseTimeError, parse_at, parse_start
from triggers.language.diagnostics import Problem
from triggers.language.parts import Parts
from triggers.language.reader import Reader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode, plain_value
from triggers.measures.windows import EXACT, MAX_AMOUNT
from triggers.rules.rule import Case, CaseExpectation, CaseInput

DEFAULT_START = "2026-01-05"
_KEYS = keys.keys("CASE")
_DROPS = tuple(reason.value for reason in Reason)
_MEASURES = ("count", "sum", "distinct")


def read_cases(parts: Parts, node: Node, sends: frozenset[str], *, recurs: bool = False) -> tuple[Case, ...]:
    """Every case of a trigger whose sends have these ids; one that `recurs` by the clock needs an end."""
    if not isinstance(node, SequenceNode):
        raise reader.wrong(node, "cases", "a list", "begin each case with `- `, as in - name: at once")
    return reader.several(parts.report, node, lambda item: _case(parts, item, sends, recurs=recurs))


def _case(parts: Parts, node: Node, sends: frozenset[str], *, recurs: bool) -> Case:
    read = Reader(parts.report, node, "a case", _KEYS)
    if recurs and "until" not in read:
        hint = 'until: "+7d 00:00"'
        parts.report.add(node.index, "missing-key", "a case of a rule that recurs by the clock needs `until`", hint)
    policies = read.optional("policies", lambda n: reader.several(parts.report, n, lambda p: _policy(parts, p)), ())
    return Case(
        name=read.required("name", lambda n: reader.text(n, "name"), "", "name: at once"),
        start=read.optional("start", lambda n: _time(n, start=True), DEFAULT_START),
        user=read.optional("user", lambda n: _user(parts, n), {}),
        given=read.required("given", lambda n: _lines(parts, n, "given", _given), ()),
        expect=read.required("expect", lambda n: _lines(parts, n, "expect", lambda p, i: _expected(p, i, sends)), ()),
        until=read.optional("until", _time, None),
        policies=policies,
        line=_line(parts, node),
    )


def _line(parts: Parts, node: Node) -> int:
    return parts.report.source.text.count("\n", 0, node.index) + 1


def _policy(parts: Parts, node: Node) -> str:
    policy = reader.name(node, "a policy's name")
    parts.references.policies.append((policy, node.index))
    return policy


def _lines(parts: Parts, node: Node, what: str, parse: Any) -> tuple[Any, ...]:
    if not isinstance(node, SequenceNode):
        raise reader.wrong(node, what, "a list", "put it into [ ], or begin each line with `- `")
    return reader.several(parts.report, node, lambda item: parse(parts, item)) if node.items else ()


def _time(node: Node, *, start: bool = False) -> str:
    value = reader.text(node, "at")
    try:
        _ = parse_start(value) if start else parse_at(value)
    except CaseTimeError as error:
        raise Problem(node.index, "invalid-time", str(error), error.hint) from None
    return value


def _at(node: Node, what: str, example: str) -> tuple[str, str, Node, MappingNode]:
    """A line `{at, WHAT: value}` as (at, what, value, the whole)."""
    if not isinstance(node, MappingNode):
        raise reader.wrong(node, what, "{at, …}", f"as in {example}")
    others = [key for key in node.items if key != "at"]
    if "at" not in node.items or len(others) != 1:
        raise Problem(node.index, "missing-key", f"{what} has `at` and one other key", f"as in {example}")
    return _time(node.items["at"]), others[0], node.items[others[0]], node


def _given(parts: Parts, node: Node) -> CaseInput:
    at, what, value, whole = _at(node, "a given line", '{at: "10:00", signed_up: {}}')
    if what == "all":
        raise Problem(whole.keys[what].index, "not-yet", "events without a user are not yet supported")
    if not isinstance(value, MappingNode):
        named = value.text if what in ("event", "type") and isinstance(value, ScalarNode) else ""
        hint = f"the event's name is the key, as in {named}: {{}}" if named else "{} where it has none"
        raise reader.wrong(value, f"`{what}`", "a mapping of properties", hint)
    values = {key: plain_value(item) for key, item in value.items.items()}
    if what == "user":
        _check(parts, value, _OF_PROFILE)
        return CaseInput(at, None, values, _line(parts, node))
    parts.references.case_events.append((reader.name(whole.keys[what], "an event's name"), whole.keys[what].index))
    parts.references.given.append((what, value))
    return CaseInput(at, what, values, _line(parts, node))


def _expected(parts: Parts, node: Node, sends: frozenset[str]) -> CaseExpectation:
    at, what, value, whole = _at(node, "an expected line", '{at: "10:00", send: welcome}')
    line = _line(parts, node)
    if what == "send":
        step = reader.name(value, "a step's id")
        if step not in sends and not parts.unsure_of_sends:
            raise Problem(value.index, "invalid-value", f"{quoted(step)} is no send of this rule", nearest(step, sends))
        return CaseExpectation(at, "send", step, line)
    if what == "drop":
        return CaseExpectation(at, "drop", reader.choice(value, "reason", _DROPS), line)
    if what == "exit":
        event = reader.name(value, "an event's name")
        parts.references.case_events.append((event, value.index))
        return CaseExpectation(at, "exit", event, line)
    hint = nearest(what, ("send", "drop", "exit"))
    raise Problem(whole.keys[what].index, "unknown-key", f"{quoted(what)} is nothing to expect", hint)


def _user(parts: Parts, node: Node) -> dict[str, object]:
    if not isinstance(node, MappingNode):
        raise reader.wrong(node, "user", "a mapping of attributes")
    checks = {**_OF_PROFILE, "score": _scores, "metric": _metrics, "held_out": _flag, "variant": _text}
    _check(parts, node, checks)
    parts.references.attributes += [(key, place.index) for key, place in node.keys.items() if key not in checks]
    return {key: plain_value(item) for key, item in node.items.items()}


def _check(parts: Parts, node: MappingNode, checks: dict[str, Any]) -> None:
    for key, check in checks.items():
        if key in node.items:
            check(parts, node.items[key], key)


def _scores(parts: Parts, node: Node, what: str) -> None:
    for key, place, value in reader.mapping_items(node, what, f"{what}: {{NAME: 3}}"):
        parts.references.scores.append((key, place.index))
        reader.number(value, f"score.{key}", 0, 1e12)


def _metrics(parts: Parts, node: Node, what: str) -> None:
    """`NAME: 3`, or `NAME: {count, sum, distinct}`."""
    for key, place, value in reader.mapping_items(node, what, f"{what}: {{NAME: 3}}"):
        whole = f"metric.{key}"
        if not isinstance(value, MappingNode):
            number = reader.number(value, whole, -MAX_AMOUNT, MAX_AMOUNT)
            counts = number.is_integer() and 0 <= number <= EXACT  # what is no count can only be a sum
            parts.references.metrics.append((key, "count" if counts else "sum", place.index))
            continue
        read = Reader(parts.report, value, whole, _MEASURES)
        for measure in ("count", "distinct"):
            read.optional(measure, lambda n, w=f"{whole}.{measure}": reader.whole(n, w, 0, EXACT), 0)  # type: ignore[misc]
        read.optional("sum", lambda n, w=whole: reader.number(n, f"{w}.sum", -MAX_AMOUNT, MAX_AMOUNT), 0.0)  # type: ignore[misc]
        parts.references.metrics += [(key, name, read.place(name)) for name in value.items if name in _MEASURES]


def _consent(parts: Parts, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    if not isinstance(node, SequenceNode):
        raise reader.wrong(node, what, "a list of purposes")
    for item in node.items:
        reader.name(item, "a purpose")


def _flag(parts: Parts, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    if not isinstance(node, ScalarNode) or not isinstance(node.value, bool):
        raise reader.wrong(node, what, "true or false")


def _text(parts: Parts, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    reader.text(node, what)


def _zone(parts: Parts, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    time_shapes.users_zone(node)


_OF_PROFILE = {"zone": _zone, "locale": _text, "consent": _consent}
"""What a profile has besides attributes."""
