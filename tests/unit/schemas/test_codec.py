"""What the codec promises: facts survive the wire, and what is not one says where it is wrong."""

import gc
import random
import weakref

import orjson
import pytest
from aiokafka.partitioner import DefaultPartitioner
from pydantic import ValidationError

from schemas.bounds import DEEPEST
from schemas.codec import DecodeError, decode, encode, partition_for
from schemas.commands import SendCommand, command_id
from schemas.deadletters import DeadLetter, b64
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.topics import CONTROL, JOURNAL, RULES, TOPICS, USER_KEYED
from schemas.vocabulary import DeadLetterCause, LedgerState

EVENT = {"id": "e1", "type": "order_completed", "user_id": "u1", "time": "2026-11-22T10:00:00+01:00"}


def test_an_event_survives_the_wire():
    event = decode(Event, orjson.dumps({**EVENT, "properties": {"total": 9.5, "items": ["a", None]}}))
    assert decode(Event, encode(event)) == event


def test_an_event_of_nobody_survives_the_wire():
    event = decode(Event, orjson.dumps(EVENT | {"user_id": None, "properties": {"coupon": None}}))
    assert decode(Event, encode(event)) == event


def test_a_moment_with_an_offset_is_read_as_utc():
    assert decode(Event, orjson.dumps(EVENT)).time.isoformat() == "2026-11-22T09:00:00+00:00"


def test_a_moment_without_an_offset_is_refused():
    with pytest.raises(DecodeError) as raised:
        decode(Event, orjson.dumps({**EVENT, "time": "2026-11-22T10:00:00"}))
    assert raised.value.cause is DeadLetterCause.INVALID
    assert raised.value.detail.startswith("time: ")


@pytest.mark.parametrize("raw", [None, b"", b"{not json", b"\xff\xfe", b"[1, 2", b"nan"])
def test_the_error_says_that_a_body_is_not_json(raw):
    with pytest.raises(DecodeError) as raised:
        decode(Event, raw)
    assert raised.value.cause is DeadLetterCause.NOT_JSON


def test_every_missing_field_is_named_at_once():
    with pytest.raises(DecodeError) as raised:
        decode(Event, b'{"id": "e1"}')
    assert {part.split(":")[0] for part in raised.value.detail.split("; ")} == {"type", "user_id", "time"}


def test_a_refused_value_is_not_repeated_in_the_error():
    with pytest.raises(DecodeError) as raised:
        decode(Profile, orjson.dumps({"user_id": "u1", "address": "secret person@x"}))
    assert "secret" not in raised.value.detail


@pytest.mark.parametrize(
    "address",
    [
        "a@b\r\nBcc: c@d",
        "a@b\n",
        "a@",
        "@b",
        "a b@c",
        "a@b@c",
        "<a@b>",
        "a,b@c",
        "a@b\x00",
        "x" * 65 + "@b",
        "a@" + "b" * 254,
    ],
)
def test_an_address_that_could_carry_more_than_a_mailbox_is_refused(address):
    with pytest.raises(ValidationError):
        Profile(user_id="u1", address=address)


def test_a_user_id_with_a_line_end_is_refused():
    with pytest.raises(ValidationError):
        Event.model_validate({**EVENT, "user_id": "u1\r\nX: y"})


def nested(levels: int) -> bytes:
    """An event of so many levels, itself and its properties included."""
    tree = b"[" * (levels - 2) + b"]" * (levels - 2)
    return orjson.dumps(EVENT)[:-1] + b', "properties": {"tree": ' + tree + b"}}"


def test_a_fact_may_be_nested_a_hundred_levels_deep():
    assert DEEPEST == 100
    assert decode(Event, nested(100)) == decode(Event, encode(decode(Event, nested(100))))


@pytest.mark.parametrize("levels", [101, 254, 255, 1024, 1025, 100_000])
def test_a_fact_that_is_nested_deeper_is_refused_with_that_reason(levels):
    with pytest.raises(DecodeError) as raised:
        decode(Event, nested(levels))
    assert raised.value.cause is DeadLetterCause.INVALID
    assert raised.value.detail.endswith(": nested deeper than 100 levels")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("properties", {"a": "x\0"}),
        ("properties", {"a": [{"b\0": 1}]}),
        ("context", {"\0": None}),
        ("source", "\0"),
        ("of_a_newer_writer", ["\0"]),
    ],
)
def test_a_fact_with_a_character_that_the_database_cannot_keep_names_the_field(field, value):
    with pytest.raises(DecodeError) as raised:
        decode(Event, orjson.dumps({**EVENT, field: value}))
    assert raised.value.cause is DeadLetterCause.INVALID
    assert raised.value.detail == f"{field}: contains U+0000, which the database cannot keep"
    assert raised.value.fields == {field}


def test_a_text_that_only_spells_the_escape_of_that_character_is_kept():
    raw = orjson.dumps({**EVENT, "properties": {"a": "\\u0000"}})
    assert b"\\u0000" in raw
    assert decode(Event, raw).properties == {"a": "\\u0000"}


GRANTED = {"granted": True, "time": "2026-11-22T10:00:00Z"}
OUTCOME = {"id": "o1", "command_id": "c1", "user_id": "u1", "kind": "clicked", "time": "2026-11-22T10:00:00Z"}


@pytest.mark.parametrize(
    ("model", "whole", "optional"),
    [
        (Event, EVENT, ["properties", "context", "source", "anonymous_id"]),
        (Profile, {"user_id": "u1"}, ["address", "zone", "locale", "attributes", "consent"]),
        (
            Outcome,
            OUTCOME,
            ["provider", "reply", "classification", "classifier_hash", "attempt", "machine", "url"],
        ),
    ],
)
def test_null_is_as_absent_in_every_field_that_may_be_absent(model, whole, optional):
    assert decode(model, orjson.dumps(whole | dict.fromkeys(optional))) == decode(model, orjson.dumps(whole))
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert set(optional) <= model.model_fields.keys() - required


def test_null_is_as_absent_in_an_answer_on_consent_and_in_a_reply():
    profile = {
        "user_id": "u1",
        "consent": {"marketing": GRANTED | {"method": None, "text_version": None}, "news": None},
    }
    assert decode(Profile, orjson.dumps(profile)).consent.keys() == {"marketing"}
    reply = {"code": 550, "enhanced": None, "text": None}
    assert decode(Outcome, orjson.dumps(OUTCOME | {"reply": reply})).reply.text == ""


def test_null_for_a_required_field_is_still_refused():
    with pytest.raises(DecodeError, match="id: "):
        decode(Event, orjson.dumps(EVENT | {"id": None}))


def test_a_refusal_wins_over_consent_to_the_same_purpose_in_other_letters():
    answers = {"Marketing": GRANTED | {"granted": False}, "marketing": GRANTED, "news": GRANTED}
    profile = decode(Profile, orjson.dumps({"user_id": "u1", "consent": answers}))
    assert {name: answer.granted for name, answer in profile.consent.items()} == {
        "Marketing": False,
        "marketing": False,
        "news": True,
    }


def test_a_newer_writers_unknown_field_is_tolerated():
    assert decode(Event, orjson.dumps({**EVENT, "invented_later": 1})).id == "e1"


def test_a_command_id_depends_on_each_of_its_four_parts_and_on_their_borders():
    ids = {
        command_id("t", "u", "o", "s"),
        command_id("t2", "u", "o", "s"),
        command_id("t", "u2", "o", "s"),
        command_id("t", "u", "o2", "s"),
        command_id("t", "u", "o", "s2"),
        command_id("tu", "", "o", "s"),
    }
    assert len(ids) == 6
    assert command_id("t", "u", "o", "s") == "e7bf038bc459e19c775603e3f788adf3"  # printf ... | b2sum -l 128


def test_a_dead_letter_keeps_the_original_bytes():
    letter = DeadLetter(
        topic="events", partition=3, offset=7, cause="not_json", detail="x", reader="test",
        time="2026-11-22T10:00:00Z", value=b64(b"\x00\xff{"),
    )  # fmt: skip
    assert letter.original_value() == b"\x00\xff{"
    assert letter.place == "events[3]@7"


def test_a_ledger_state_is_waiting_or_terminal_or_in_doubt():
    for state in LedgerState:
        assert [state.waiting, state.terminal, state is LedgerState.IN_DOUBT].count(True) == 1


# From the tests of org.apache.kafka.common.utils.Utils.murmur2, as signed 32-bit numbers.
PUBLISHED = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), PUBLISHED.items())
def test_the_published_hash_of_a_key_gives_its_partition(data, signed):
    assert partition_for(data, 2**31) == signed & 0x7FFFFFFF


def test_a_thousand_keys_have_the_partitions_that_faust_chooses():
    """Faust sends through aiokafka's default partitioner, which its producer holds."""
    rng = random.Random(7)
    partitions = list(range(16))
    chosen = DefaultPartitioner()
    for _ in range(1000):
        key = rng.randbytes(rng.randint(1, 40))
        assert partition_for(key, 16) == chosen(key, partitions, partitions)


def test_user_keyed_topics_share_one_partition_count_and_single_ones_have_one():
    assert {t.name for t in USER_KEYED} == {"events", "profiles", "commands", "decisions", "outcomes"}
    assert {t.name: t.partitions(16) for t in TOPICS if t.layout == "single"} == {"rules": 1, "control": 1}


def test_records_that_the_journal_names_by_number_are_kept_until_the_journal_is_deleted():
    for topic in (RULES, CONTROL):
        assert topic.config()["min.compaction.lag.ms"] == JOURNAL.config()["retention.ms"]


def test_the_inputs_of_the_clock_use_append_time():
    timed = {t.name for t in TOPICS if t.config()["message.timestamp.type"] == "LogAppendTime"}
    assert timed == {"events", "profiles", "outcomes", "broadcasts"}


def test_a_command_needs_an_id_in_the_right_form():
    with pytest.raises(ValidationError):
        SendCommand.model_validate({"id": "not-hex"})


def test_a_kept_decode_error_does_not_keep_the_variables_of_its_callers() -> None:
    class ReaderBatch:
        """What a reader holds while it decodes."""

    def read() -> weakref.ref[ReaderBatch]:
        batch = ReaderBatch()
        with pytest.raises(DecodeError) as raised:
            decode(Profile, b'{"user_id": "ann", "address": "a b"}')
        kept = [raised.value]  # as a reader keeps it with the record
        assert kept
        return weakref.ref(batch)

    batch = read()
    gc.collect()
    assert batch() is None
