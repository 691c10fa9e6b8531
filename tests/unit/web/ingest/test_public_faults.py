"""Faults that others reported of their ingest, and what happens here. Each test names the report."""

import gzip
from datetime import timedelta

import pytest
from drivers.ingest_calls import BROWSER, NOW, batch, event_of, outcome_of, read_back, reading_of, refusal_of, track

from web.ingest.inflation import inflated
from web.ingest.reading import CallProblem, Reading

LIMIT = 4_194_304


def reading(path: str, body: bytes) -> Reading:
    outcome = outcome_of(path, body)
    assert isinstance(outcome, Reading)
    return outcome


def test_a_nul_in_a_trait_is_refused_and_not_lost_later() -> None:
    """PostHog/posthog#17297"""
    assert refusal_of("/v1/identify", {"userId": "u1", "traits": {"email": "\0"}})[0] == "traits"
    assert refusal_of("/v1/track", track(properties={"$set": {"email": "\0"}}))[0] == "properties"


def test_a_misplaced_id_is_refused_and_not_stored_nowhere() -> None:
    """PostHog/posthog#1407"""
    assert refusal_of("/v1/track", {"event": "a", "properties": {"userId": "u1"}})[0] == "userId"
    assert refusal_of("/v1/track", {"event": "a", "distinct_id": "u1"})[0] == "userId"


def test_a_batch_of_535_982_bytes_is_taken() -> None:
    """segmentio/analytics-node#313"""
    items = [track(properties={"text": "x" * 26_600}) for _ in range(21)]
    body = batch(*items)
    assert len(body) > 535_982
    assert len(reading("/v1/batch", body).events) == 21


def test_a_batch_of_more_than_100_items_is_taken() -> None:
    """segmentio/analytics-python#97"""
    assert len(reading("/v1/batch", batch(*[track()] * 600)).events) == 600


def test_a_message_s_id_of_another_source_is_another_event() -> None:
    """segmentio/analytics-ruby#241"""
    call = track(messageId="ajs-next-bebb1042")
    assert event_of("/v1/track", call).id != event_of("/v1/track", call, BROWSER).id


def test_ids_that_are_numbers_are_found() -> None:
    """rudderlabs/rudder-server#3051"""
    event = event_of("/v1/track", track(userId=42, anonymousId=43))
    assert (event.user_id, event.anonymous_id) == ("42", "43")


@pytest.mark.parametrize("text", ["{", "x", ""])
def test_an_item_of_one_character_spoils_no_other(text: str) -> None:
    """rudderlabs/rudder-sdk-android#486"""
    found = reading("/v1/batch", batch(track(), text, track()))
    assert len(found.events) == 2
    assert [each.index for each in found.refused] == [1]


def test_a_batch_that_is_no_json_for_one_character_is_refused_at_once() -> None:
    """rudderlabs/rudder-sdk-android#486: a 4xx, so that the SDK does not send it for ever."""
    problem = outcome_of("/v1/batch", batch(track(), b"{", track()))
    assert isinstance(problem, CallProblem)
    assert problem.status == 400


@pytest.mark.parametrize("item", [{}, {"type": None}, {"type": {}}, {"type": "track"}, [], None, {"": ""}])
def test_an_item_without_its_fields_is_refused(item: object) -> None:
    """rudderlabs/rudder-server#4556"""
    found = reading("/v1/batch", batch(item, track()))
    assert (len(found.events), len(found.refused)) == (1, 1)


def test_one_malformed_event_blocks_no_other() -> None:
    """jitsucom/jitsu#772"""
    wrong = [b'{"type":"track","event":"a","userId":"u1","properties":{"a":1e400}}', track(properties={"a": "\0"})]
    wrong += [b'{"type":"track","event":"a","userId":"u1","properties":{"a":"\xff"}}', track(userId="u" * 257)]
    wrong += [b'{"type":"track","event":"a","userId":"u1","properties":{"a":"\\ud800"}}', track(timestamp="x")]
    wrong += [b'{"type":"track","event":"a","userId":"u1","properties":{"a":NaN}}']
    found = reading("/v1/batch", batch(track(), *wrong, track()))
    assert len(found.events) == 2
    assert [each.index for each in found.refused] == [1, 2, 3, 4, 5, 6, 7]


def test_gzip_without_its_header_is_read() -> None:
    """Metabuilder-Labs/tokenjam#365. The bomb of PostHog/posthog#38996 is a case of the tests of inflation."""
    body = inflated(gzip.compress(batch(track())), "", LIMIT)
    assert isinstance(body, bytes)
    assert len(reading("/v1/batch", body).events) == 1


def test_what_stands_for_a_missing_id_makes_no_user() -> None:
    """grafana/grafana#107202"""
    for nobody in ("@https://play.example.org", "undefined", "null", "[object Object]"):
        assert refusal_of("/v1/page", {"userId": nobody})[0] == "userId"
        assert refusal_of("/v1/alias", {"userId": "u1", "previousId": nobody})[0] == "previousId"
    assert event_of("/v1/page", {"userId": "@ada"}).user_id == "@ada"


def test_a_time_far_in_the_future_is_the_time_received() -> None:
    """PostHog/posthog#30579"""
    event = event_of("/v1/track", track(timestamp="2099-01-01T00:00:00Z"))
    assert event.time == NOW
    assert event.context["original_time"] == "2099-01-01T00:00:00+00:00"


def test_a_future_of_80_seconds_loses_nothing() -> None:
    """SentryGuard#210"""
    near = (NOW + timedelta(seconds=80)).isoformat()
    assert event_of("/v1/track", track(timestamp=near)).time == NOW + timedelta(seconds=80)
    (record,) = reading_of("/v1/track", track(timestamp=near, sentAt=near)).events
    assert read_back(record).time == NOW
