"""The document `score`."""

from schemas.wording import nearest
from triggers.language import keys, values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import Node
from triggers.measures.decay import MAX_SCORE, Curve, Exponential, Linear, Power, Step
from triggers.rules.rule import Addition, Score

_CURVES = ("EXPONENTIAL", "LINEAR", "POWER")
_CURVE_KEYS = {
    curve: tuple(key.name for key in shape.keys if key.name != "curve")
    for shape in map(keys.record, _CURVES)
    for curve in shape.key("curve").words
}
_CURVE = "{curve: exponential, half_life: 14d}"
_POINTS = ("event", "user", "now")
"""A score is not made of scores: that could have no beginning."""


def read_score(document: DocumentReader, node: Node) -> Score:
    """The document of one score."""
    mapping = document.mapping(node, "score", "score")
    name = mapping.required("score", lambda n: values.identifier(n, "a score's name"), "")
    curve = mapping.required("decay", lambda n: _curve(document, n), None, f"decay: {_CURVE}")
    additions = mapping.required("add", lambda n: _additions(document, n), (), "add: {event: viewed, points: 1}")
    bounds = mapping.declared_key("ceiling").bounds
    ceiling = mapping.optional("ceiling", lambda n: values.number(n, "ceiling", *bounds), MAX_SCORE)
    return Score(name, curve or Exponential(1), additions, ceiling)


def _curve(document: DocumentReader, node: Node) -> Curve | None:
    mapping = document.mapping(node, "decay", *_CURVES, example=_CURVE)
    curve = mapping.required("curve", lambda n: values.choice(n, "curve", tuple(_CURVE_KEYS)), "")
    if not curve:
        return None
    _refuse_other_keys(mapping, curve)
    if curve == "exponential":
        return Exponential(_duration(mapping, "half_life"))
    if curve == "power":
        bounds = mapping.declared_key("exponent").bounds
        scale_ms = _duration(mapping, "scale")
        exponent = mapping.required("exponent", lambda n: values.number(n, "exponent", *bounds), 1.0, "exponent: 1.5")
        return Power(scale_ms, exponent)
    lifetime_ms = _duration(mapping, "lifetime")
    return Linear(lifetime_ms) if curve == "linear" else Step(lifetime_ms)


def _refuse_other_keys(mapping: MappingReader, curve: str) -> None:
    own = _CURVE_KEYS[curve]
    for key in sorted({key for names in _CURVE_KEYS.values() for key in names}.difference(own)):
        if key in mapping:
            message = f"`{key}` does not go with the curve `{curve}`"
            raise Problem(mapping.place(key), "conflict", message, nearest(key, own))


def _duration(mapping: MappingReader, key: str) -> int:
    return mapping.required(key, lambda n: values.duration(n, key), 1, f"{key}: 14d")


def _additions(document: DocumentReader, node: Node) -> tuple[Addition, ...]:
    return values.several(document.report, node, lambda item: _addition(document, item))


def _addition(document: DocumentReader, node: Node) -> Addition | None:
    mapping = document.mapping(node, "add", "ADDITION", "EVENT", later=("same",), example="{event: NAME, points: 1}")
    pattern = document.pattern_keys(mapping, _POINTS)
    compiled = document.expressions.compile
    points = mapping.required("points", lambda n: compiled(n, "points", "number", _POINTS, events=pattern.types), None)
    return None if points is None else Addition(pattern, points)
