"""The pure parts of webhooks: signatures, what answers mean, and where requests may go."""

import asyncio
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from schemas.commands import SendCommand
from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.http.answers import answer_of, asked_wait
from senders.channels.http.destinations import CheckedResolver, DestinationRefused, Destinations
from senders.channels.http.signatures import signature_headers, signing_key
from senders.content.webhooks import webhook_body
from senders.policy.endpoints import EndpointBook

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
KEY = "whsec_" + b64encode(b"a" * 24).decode()


def test_the_signature_is_that_of_the_published_example() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signature_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_signs_while_they_are_exchanged() -> None:
    headers = signature_headers([b"a" * 24, b"b" * 24], "id", 1, b"{}")
    assert len(set(headers["webhook-signature"].split(" "))) == 2


@pytest.mark.parametrize(
    "secret", ["", "secret", "whsec_", "whsec_!!!!", "whsec_" + b64encode(b"short").decode(), KEY[6:]]
)
def test_a_secret_that_cannot_sign_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and 24 to 64 bytes") as raised:
        signing_key(secret)
    assert len(secret) < 8 or secret not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (200, LedgerState.ACCEPTED, None),
        (204, LedgerState.ACCEPTED, None),
        (301, LedgerState.DEFERRED, DeliveryReason.HTTP_STATUS),
        (400, LedgerState.DEFERRED, DeliveryReason.HTTP_STATUS),
        (410, LedgerState.DEFERRED, DeliveryReason.ENDPOINT_GONE),
        (503, LedgerState.DEFERRED, DeliveryReason.HTTP_STATUS),
        (799, LedgerState.DEFERRED, DeliveryReason.HTTP_STATUS),
    ],
)
def test_only_2xx_has_taken_a_call(status: int, state: LedgerState, reason: DeliveryReason | None) -> None:
    result = answer_of(status, None, NOW)
    assert (result.state, result.reason) == (state, reason)
    assert result.reply is not None
    assert result.reply.code == status


def test_retry_after_counts_where_the_endpoint_asks_to_wait() -> None:
    assert answer_of(429, "120", NOW).asked == timedelta(seconds=120)
    assert answer_of(503, "Mon, 05 Jan 2026 10:05:00 GMT", NOW).asked == timedelta(minutes=5)
    assert answer_of(500, "120", NOW).asked is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), (" 7 ", 7), ("999999999", 86_400), ("Mon, 05 Jan 2026 09:00:00 GMT", 0)],
)
def test_a_readable_retry_after_is_bounded(text: str, seconds: int) -> None:
    assert asked_wait(text, NOW) == timedelta(seconds=seconds)


UNREADABLE = [None, "", "soon", "-1", "1.5", "9" * 40, "٣", "Mon, 99 Jan 2026 10:00:00 GMT"]
UNREADABLE += ["Mon, 01 Jan 2024 00:00:00 +9999999999999999", "Mon, 01 Jan 99999999999 00:00:00 GMT"]


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_unreadable_retry_after_says_nothing(text: str | None) -> None:
    assert asked_wait(text, NOW) is None


PRIVATE = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1", "fc00::1", "224.0.0.1"]
PRIVATE += ["::ffff:10.0.0.1", "64:ff9b::a00:1", "100.64.0.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_called_unless_the_host_is_named(address: str) -> None:
    assert not Destinations((), allow_real=True).allows("crm.example", address)
    assert Destinations({"crm.example"}, allow_real=True).allows("crm.example", address)
    assert not Destinations({"other.example"}, allow_real=True).allows("crm.example", address)
    with pytest.raises(DestinationRefused):
        Destinations((), allow_real=True).require(address, encrypted=True)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "1.2.3", "127.0.0.1."])
def test_a_host_of_digits_that_is_no_plain_address_is_refused(host: str) -> None:
    with pytest.raises(DestinationRefused):
        Destinations({host}, allow_real=True).require(host, encrypted=True)


def test_without_real_mail_only_this_machine_is_called() -> None:
    named = {"crm.example"}
    assert Destinations((), allow_real=True).allows("crm.example", "93.184.216.34")
    assert not Destinations(named).allows("crm.example", "93.184.216.34")
    assert Destinations(named).allows("crm.example", "127.0.0.1")


async def test_a_lookup_does_not_wait_for_other_lookups_of_the_process() -> None:
    loop, ended = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    slow = loop.run_in_executor(None, ended.wait)
    try:
        async with asyncio.timeout(5):
            found = await CheckedResolver(Destinations({"localhost"})).resolve("localhost", 80)
    finally:
        ended.set()
        await slow
    assert {(each["hostname"], each["port"]) for each in found} == {("localhost", 80)}
    assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}


def test_plain_requests_go_to_named_hosts_only() -> None:
    Destinations({"crm.internal"}).require("crm.internal", encrypted=False)
    Destinations(()).require("crm.example", encrypted=True)
    with pytest.raises(DestinationRefused):
        Destinations(()).require("crm.example", encrypted=False)


def endpoint(**changes: object) -> Endpoint:
    fields: dict[str, object] = {"url": "https://crm.example/", "secrets": ["s"], "timeout_ms": 1, "retries": 0}
    return Endpoint.model_validate({"name": "crm"} | fields | changes)


@pytest.mark.parametrize(
    ("secrets", "lacks"),
    [
        ({}, "the secret s is missing"),
        ({"s": KEY}, "the secret t is missing"),
        ({"s": KEY, "t": "a\r\nHost: b"}, "the secret t is no line of ASCII"),
        ({"s": "none", "t": "a"}, "of s: a secret that signs is whsec_ and 24 to 64 bytes in base64"),
        ({"s": KEY, "t": "a"}, ""),
    ],
)
def test_an_endpoint_is_called_only_with_all_its_secrets(secrets: dict[str, str], lacks: str) -> None:
    book = EndpointBook(secrets)
    book.put([endpoint(secret_headers={"X-Key": "t"})])
    known = book.get("crm")
    assert known is not None
    assert known.lacks == lacks
    assert (known.call is None) is bool(lacks)
    assert "none" not in "".join(book.problems())
    assert KEY not in repr(known)


def test_the_body_is_the_same_for_each_attempt() -> None:
    fields = {"trigger": "t", "rule_hash": "", "occurrence": "o", "step": "crm", "user_id": "u", "channel": "webhook"}
    fields |= {"template": "crm", "template_hash": "", "purpose": "sales", "data": {"b": 1, "a": [True, None]}}
    command = SendCommand(id="0" * 32, decided_at=NOW, expires_at=NOW, **fields)
    assert webhook_body(command) == (
        b'{"type":"t.crm","timestamp":"2026-01-05T10:00:00Z","data":{"b":1,"a":[true,null]},'
        b'"trigger":"t","step":"crm","occurrence":"o","user_id":"u"}'
    )
