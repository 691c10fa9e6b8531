"""Whatever stands in an event: the catalogue raises nothing, lets no dropped field through, and hashes alike."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from triggers.language.catalogue_document import TYPES, Catalogue
from web.ingest.catalogue import EnforcedCatalogue
from web.ingest.property_types import UNREADABLE, PropertyTypes

NAMES = st.sampled_from(["a", "b", "c", "a.b", "b.c", "", 'q"', "ä"])
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "2026-02-28T10:00:00Z", "2026-02-30T10:00:00Z", "9999-12-31T23:59:59Z"]),
    st.datetimes().map(lambda each: f"{each.isoformat()}Z"),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.one_of(
    VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.binary(max_size=30),
    st.integers(200, 1200).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    st.integers(200, 1200).map(lambda depth: b'{"a":' + b"[" * depth + b"]" * depth + b"}"),
    st.sampled_from([b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":-0}', b'{"a":1,"a":{"b":2}}', b"{}", b" {} "]),
)
TYPES_OF_NAMES = st.dictionaries(NAMES, st.sampled_from(TYPES), max_size=5)
ACTIONS = st.sampled_from(["drop", "hash"])


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    types = draw(TYPES_OF_NAMES)
    required = frozenset(draw(st.sets(st.sampled_from(sorted(types))))) if types else frozenset()
    rules = st.dictionaries(PATHS | PATHS.map("context.{}".format), ACTIONS, max_size=4)
    fields = draw(st.dictionaries(st.sampled_from(["*", "known"]), rules))
    return Catalogue({"known": types}, {"known": required}, draw(st.sampled_from(["off", "tag", "reject"])), fields)


def reachable(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The joined names on the way to each value; items of a list have no name."""
    if path:
        yield ".".join(path)
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from reachable(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from reachable(inner, path)


@given(catalogues(), st.sampled_from(["known", "unknown"]), TEXTS, TEXTS)
def test_nothing_is_raised_and_no_dropped_field_gets_through(
    catalogue: Catalogue, event: str, properties: bytes, context: bytes
) -> None:
    applied = EnforcedCatalogue(catalogue, "secret").apply(event, properties, context)

    rules = [catalogue.fields.get(name, {}) for name in ("*", event)]
    dropped = {path for each in rules for path, action in each.items() if action == "drop"}
    if applied is None:
        assert not any(rules)
    elif applied.refusal is None:
        if any(rules):
            assert not dropped & set(reachable(orjson.loads(bytes(applied.properties))))
        inner = {path.removeprefix("context.") for path in dropped if path.startswith("context.")}
        if inner:
            assert not inner & set(reachable(orjson.loads(bytes(applied.context))))
    else:
        assert applied.properties == applied.context == b"{}"


@given(VALUES, PATHS)
def test_hashes_depend_on_values_and_not_on_how_they_are_written(value: Any, path: str) -> None:
    catalogue = EnforcedCatalogue(Catalogue(fields={"*": {path: "hash"}}), "secret")
    plain, spaced = json.dumps({"a": value}), json.dumps({"a": value}, indent=2, sort_keys=True, ensure_ascii=False)
    one, other = (catalogue.apply("x", text.encode("utf-8", "surrogatepass")) for text in (plain, spaced))

    assert one is not None
    assert other is not None
    assert one.refusal == other.refusal
    if one.refusal is None:
        assert orjson.loads(bytes(one.properties)) == orjson.loads(bytes(other.properties))


@given(TYPES_OF_NAMES, st.data(), TEXTS)
def test_what_the_decoder_takes_at_once_has_no_problem_one_by_one(
    types: dict[str, str], data: st.DataObject, text: bytes
) -> None:
    required = frozenset(data.draw(st.sets(st.sampled_from(sorted(types))))) if types else frozenset()
    checked = PropertyTypes(types, required)
    try:
        value = orjson.loads(text)
    except UNREADABLE:
        return

    assert list(checked.problems(text)) == checked._found(value)
