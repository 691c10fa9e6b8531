"""A record of `outcomes`: a user's refusal is read even if the rest cannot be read."""

from datetime import UTC, datetime

import orjson
import pytest

from schemas.codec import DecodeError, partition_for
from schemas.outcome_records import read_outcome
from schemas.vocabulary import OutcomeKind

PARTITIONS = 16
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHOLE = {"id": "o1", "command_id": "c1", "user_id": "u1", "kind": "unsubscribed", "time": "2026-11-22T10:00:00Z"}


def read(value: object, key: bytes | None = b"u1", partition: int | None = None):
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    home = partition_for(b"u1", PARTITIONS) if partition is None else partition
    return read_outcome(key, raw, home, PARTITIONS, NOW)


def test_a_whole_outcome_is_one():
    outcome, error, in_own_partition = read(WHOLE)
    assert (outcome.kind, error, in_own_partition) == (OutcomeKind.UNSUBSCRIBED, None, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": "yesterday"},
        {"time": None},
        {"url": "x" * 3000},
        {"url": "\0"},
        {"machine": "maybe"},
        {"id": ""},
        {"id": None},
        {"user_id": None},
        {"reply": {"code": "much"}},
        {"provider": {"a": [1]}},
        {"attempt": -1},
        {"kind": "Unsubscribed "},
        {"kind": "complained", "time": 1e30},
    ],
)
def test_a_refusal_is_read_with_its_command_if_another_field_is_wrong(wrong):
    outcome, error, in_own_partition = read(WHOLE | wrong)
    assert outcome.kind in (OutcomeKind.UNSUBSCRIBED, OutcomeKind.COMPLAINED)
    assert (outcome.user_id, outcome.command_id, in_own_partition) == ("u1", "c1", True)
    assert error is not None


def test_a_time_that_cannot_be_read_is_that_of_the_record():
    assert read(WHOLE | {"time": "2026-11-22T10:00:00"}).outcome.time == NOW


def test_correct_fields_are_kept():
    outcome = read(WHOLE | {"kind": "bounced", "url": 5, "reply": {"code": 550}, "deep": [[]]}).outcome
    assert (outcome.id, outcome.reply.code) == ("o1", 550)


def test_a_refusal_is_read_from_json_that_is_cut_short_or_too_deep():
    cut = orjson.dumps(WHOLE)[:-10]
    assert (read(cut).outcome.kind, read(cut).outcome.command_id) == (OutcomeKind.UNSUBSCRIBED, "c1")
    deep = orjson.dumps(WHOLE)[:-1] + b', "x": ' + b"[" * 500 + b"]" * 500 + b"}"
    assert read(deep).outcome.command_id == "c1"


def test_the_same_record_read_again_has_the_same_id():
    assert read(WHOLE | {"id": 5}).outcome.id == read(WHOLE | {"id": 5}).outcome.id


def test_a_refusal_in_a_wrong_partition_is_read_and_marked_as_misplaced():
    outcome, error, in_own_partition = read(WHOLE, partition=partition_for(b"u1", PARTITIONS) ^ 1)
    assert (outcome.user_id, in_own_partition) == ("u1", False)
    assert error is not None


@pytest.mark.parametrize("value", [WHOLE | {"kind": "clicked", "time": 1e30}, WHOLE | {"kind": "stopped"}, b"{", b"[]"])
def test_an_unreadable_outcome_that_stops_no_mail_is_refused_as_a_whole(value):
    with pytest.raises(DecodeError):
        read(value)


def test_a_refusal_without_a_user_is_refused():
    with pytest.raises(DecodeError):
        read({"kind": "unsubscribed"}, key=None)
