"""Any records of `profiles`: stream workers and delivery take the same of them, and no yes outlives a newer record."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import set_json_dumps, set_json_loads

from schemas.codec import DecodeError, decode
from schemas.decisions import Decision
from schemas.events import Event
from schemas.profile_records import UnreadableProfile, read_profile
from schemas.profiles import Profile
from schemas.topics import DEAD_LETTERS, DECISIONS, PROFILES
from senders.policy.recipients_table import write_profiles
from streams.decisions.evaluate import Decider
from streams.decisions.update import InputRecord, Update
from triggers.cel.runtime import as_ms
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules.encoding import decode as state_of

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
RULES = '{"trigger": "hello", "purpose": "marketing", "on": "wanted", "send": "hello"}'
DECIDER = Decider(Evaluator(load_rules([SourceFile("r.yaml", RULES)], {"hello": "hash"})))

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from(["\0", "", " ", "u1", "u2", "x" * 300, "a@b.example", "2026-11-22T10:00:00"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["marketing", " marketing", "MARKETING", "granted", "time", "\0"]), inner, max_size=3
        ),
    ),
    max_leaves=4,
)
FIELDS = ["user_id", "address", "zone", "locale", "attributes", "consent", "more"]
ANSWERS = ["granted", "time", "method", "text_version"]


@st.composite
def values(draw: st.DrawFn) -> tuple[str, Any]:
    """How a profile is spoilt, or not: drawn before its time is known."""
    kind = draw(st.sampled_from(["whole", "whole", "pause", "field", "answer", "cut", "bytes", "deep", "none"]))
    granted = draw(st.booleans())
    match kind:
        case "field":
            return kind, (granted, draw(st.sampled_from(FIELDS)), draw(JUNK))
        case "answer":
            return kind, (granted, draw(st.sampled_from(ANSWERS)), draw(JUNK))
        case "bytes":
            return kind, draw(st.one_of(st.binary(max_size=12), JUNK.map(orjson_or_nothing)))
    return kind, granted


def orjson_or_nothing(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        return b""


def raw_of(drawn: tuple[str, Any], at: datetime) -> bytes | None:
    kind, content = drawn
    if kind in ("bytes", "none"):
        return content if kind == "bytes" else None
    granted = content if isinstance(content, bool) else content[0]
    answer: dict[str, Any] = {"granted": granted, "time": at.isoformat(), "method": "form"}
    profile: dict[str, Any] = {"user_id": "u1", "address": "u1@mail.example", "attributes": {"plan": "paid"}}
    if kind == "pause":
        profile["paused_until"] = (at - timedelta(seconds=1)).isoformat()  # over: what is sent stays the same
    if kind == "answer":
        answer[content[1]] = content[2]
    profile["consent"] = {"marketing": answer}
    if kind == "field":
        profile[content[1]] = content[2]
    raw = orjson_or_nothing(profile)
    if kind == "deep":
        return raw[:-1] + b', "deep": ' + b"[" * 300 + b"]" * 300 + b"}"
    return raw[: len(raw) - 25] if kind == "cut" else raw


HISTORIES = st.lists(values(), min_size=1, max_size=6)
"""Each a minute after the one before, so that no yes is older than a no before it."""


def at(number: int) -> datetime:
    return START + timedelta(minutes=number)


def applied(raw: bytes | None, state: bytes | None, number: int) -> Update:
    return DECIDER.apply(InputRecord(PROFILES.name, 0, number, b"u1", raw), 1, state, START_MS + number * 60_000)


def following(step: Update, state: bytes | None) -> bytes | None:
    return None if step.removed else step.state or state


def says_yes(raw: bytes | None) -> bool:
    """Whether a record is a whole profile of the user that says yes."""
    try:
        profile = decode(Profile, raw)
    except DecodeError:
        return False
    answer = profile.consent.get("marketing")
    return profile.user_id == "u1" and answer is not None and answer.granted


def sends(state: bytes | None, number: int) -> bool:
    event = Event(id=f"e{number}", type="wanted", user_id="u1", time=at(number))
    stored = DECIDER.apply(
        InputRecord("events", 0, number, b"u1", orjson.dumps(event.model_dump(mode="json"))),
        1,
        state,
        START_MS + number * 60_000,
    )
    decisions = [decode(Decision, output.value) for output in stored.outgoing if output.topic == DECISIONS.name]
    return [decision.outcome for decision in decisions] == ["send"]


@given(HISTORIES)
def test_marketing_is_sent_only_where_the_newest_record_is_a_whole_profile_that_says_yes(
    history: list[tuple[str, Any]],
) -> None:
    state: bytes | None = None
    for number, drawn in enumerate(history):
        raw = raw_of(drawn, at(number))
        step = applied(raw, state, number)
        state = following(step, state)
        assert sends(state, number) is says_yes(raw), raw
        letters = [output for output in step.outgoing if output.topic == DEAD_LETTERS.name]
        assert len(letters) == isinstance(read_profile(b"u1", raw, 0, 1), UnreadableProfile)


@pytest.fixture
def view(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A recipients view of our own."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        set_json_dumps(orjson.dumps, connection)
        set_json_loads(orjson.loads, connection)
        yield connection


@pytest.mark.servers
@given(HISTORIES, st.integers(1, 6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_both_halves_know_the_same_of_a_user(
    view: psycopg.Connection[Any], history: list[tuple[str, Any]], together: int
) -> None:
    """Delivery reads records in batches of any size, and each batch may be written twice."""
    view.execute("DELETE FROM recipients")
    raws = [raw_of(drawn, at(number)) for number, drawn in enumerate(history)]
    state: bytes | None = None
    for number, raw in enumerate(raws):
        state = following(applied(raw, state, number), state)
    for begin in range(0, len(raws), together):
        batch = [read_profile(b"u1", raw, 0, 1) for raw in raws[begin : begin + together]]
        for _ in range(2):
            write_profiles(view, batch)
    row = view.execute(
        "SELECT consent, attributes, address, paused_until FROM recipients WHERE user_id = 'u1'"
    ).fetchone()
    known = state_of("u1", state)
    assert (row is not None) is known.profiled
    if row is not None:
        assert says_yes(raws[-1]) is (row[0].get("marketing", {}).get("granted") is True)
        yeses = {purpose for purpose, answer in known.consent.items() if answer.granted}
        assert yeses == {purpose for purpose, answer in row[0].items() if answer["granted"]}
        assert row[1] == known.user.attributes
        assert (row[3] and as_ms(row[3])) == known.paused_until
