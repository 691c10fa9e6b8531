"""The documents `score` and `policy`."""

from schemas.wording import nearest, quoted
from triggers.language import keys as language
from triggers.language import reader
from triggers.language.diagnostics import Problem
from triggers.language.parts import Parts
from triggers.language.reader import Reader
from triggers.language.yaml_tree import MappingNode, Node
from triggers.measures.decay import MAX_SCORE, Curve, Exponential, Linear, Power, Step
from triggers.rules.rule import Addition, Policy, Score

SCORE_KEYS = language.keys("score")
POLICY_KEYS = language.keys("policy")
_CURVES = {
    "exponential": ("half_life",),
    "linear": ("lifetime",),
    "step": ("lifetime",),
    "power": ("scale", "exponent"),
}
_CURVE = "{curve: exponential, half_life: 14d}"
_POINTS = ("event", "user", "now")
"""A score is not made of scores: that could have no beginning."""


def read_score(parts: Parts, node: Node) -> Score:
    """The document of one score."""
    read = Reader(parts.report, node, "score", SCORE_KEYS)
    name = read.required("score", lambda n: reader.identifier(n, "a score's name"), "")
    curve = read.required("decay", lambda n: _curve(parts, n), None, f"decay: {_CURVE}")
    additions = read.required("add", lambda n: _additions(parts, n), (), "add: {event: product_viewed, points: 1}")
    ceiling = read.optional("ceiling", lambda n: reader.number(n, "ceiling", 0, MAX_SCORE), MAX_SCORE)
    return Score(name, curve or Exponential(1), additions, ceiling)


def _curve(parts: Parts, node: Node) -> Curve | None:
    keys = sorted({key for names in _CURVES.values() for key in names})
    read = Reader(parts.report, node, "decay", ("curve", *keys), example=_CURVE)
    curve = read.required("curve", lambda n: reader.choice(n, "curve", tuple(_CURVES)), "")
    if not curve:
        return None
    for key in keys:
        if key in read and key not in _CURVES[curve]:
            raise Problem(
                read.place(key), "conflict", f"a curve `{curve}` has no `{key}`", nearest(key, _CURVES[curve])
            )
    ms = {
        key: read.required(key, lambda n, key=key: reader.duration(n, key), 1, f"{key}: 14d")  # type: ignore[misc]
        for key in _CURVES[curve]
        if key != "exponent"
    }
    if curve == "exponential":
        return Exponential(ms["half_life"])
    if curve == "power":
        exponent = read.required("exponent", lambda n: reader.number(n, "exponent", 0.01, 100), 1.0, "exponent: 1.5")
        return Power(ms["scale"], exponent)
    return Linear(ms["lifetime"]) if curve == "linear" else Step(ms["lifetime"])


def _additions(parts: Parts, node: Node) -> tuple[Addition, ...]:
    return reader.several(parts.report, node, lambda item: _addition(parts, item))


def _addition(parts: Parts, node: Node) -> Addition | None:
    if not isinstance(node, MappingNode):
        raise reader.wrong(node, "add", "{event, points}", "as in {event: NAME, points: 1}")
    pattern = parts.pattern(node, "add", _POINTS, ("points",))
    if "points" not in node.items:
        raise Problem(node.index, "missing-key", "an addition needs `points`", "as in {event: NAME, points: 1}")
    points = parts.expressions.compile(node.items["points"], "points", "number", _POINTS, events=pattern.types)
    return Addition(pattern, points)


def read_policy(parts: Parts, node: Node) -> Policy:
    """The document of one policy."""
    read = Reader(parts.report, node, "policy", POLICY_KEYS)
    name = read.required("policy", lambda n: reader.name(n, "a policy's name"), "")
    purpose, channel = read.required("for", lambda n: _for(parts, n), (None, None))
    if not any(key in read for key in POLICY_KEYS[2:]):
        hint = "one of cap, quiet, holdout, expires"
        raise Problem(read.node.index, "missing-key", f"the policy {quoted(name)} says nothing", hint)
    return Policy(
        name,
        purpose,
        channel,
        read.optional(
            "cap", lambda n: reader.several(parts.report, n, lambda c: parts.cap(c, scope_required=True)), ()
        ),
        read.optional("quiet", lambda n: reader.several(parts.report, n, parts.quiet), ()),
        read.optional("holdout", parts.holdout, 0.0),
        read.optional("expires", lambda n: reader.duration(n, "expires"), None),
    )


def _for(parts: Parts, node: Node) -> tuple[str | None, str | None]:
    example = "{purpose: marketing}, or {} for everybody"
    read = Reader(parts.report, node, "for", language.keys("FOR"), ("brand",), example)
    return (
        read.optional("purpose", lambda n: reader.name(n, "a purpose"), None),
        read.optional("channel", lambda n: reader.name(n, "a channel"), None),
    )
