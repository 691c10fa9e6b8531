"""The demo's CRM over real HTTP: what it takes, and what it does not."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected

import orjson
import pytest

from cli.demo.crm import ENDPOINT, OLDEST_S, PATH, SECRET_NAME, URL, Crm, CrmVerdict, NoEndpoint, led_to
from cli.demo.main import EXAMPLES
from cli.rules.rule_folder import read_folder
from infra.local.webhook_receiver import HOST
from senders.channels.http.signatures import signature_headers, signing_key

BODY = orjson.dumps({"type": "back-in-stock.crm", "user_id": "u1", "data": {}})
OTHER_SECRET = "whsec_" + "A" * 40


@pytest.fixture
def crm() -> Iterator[Crm]:
    with Crm() as made:
        yield made


def call(crm: Crm, id_: str = "c1", *, secret: str = "", ago_s: int = 0, body: bytes = BODY) -> int:
    """The status of a signed call; 0 if there was no answer."""
    headers = signature_headers([signing_key(secret or crm.secret)], id_, int(time.time()) - ago_s, BODY)
    return post(crm, headers, body)


def post(crm: Crm, headers: dict[str, str], body: bytes) -> int:
    connection = HTTPConnection(HOST, crm.port)
    try:
        connection.request("POST", PATH, body, headers)
        return connection.getresponse().status
    except RemoteDisconnected:
        return 0
    finally:
        connection.close()


def test_it_fails_one_call_and_leaves_one_without_an_answer_and_takes_both_when_they_come_again(crm):
    assert [call(crm, each) for each in ("c1", "c2", "c1", "c2", "c3", "c3")] == [503, 0, 200, 200, 200, 200]
    verdicts = ["failed", "unanswered", "taken", "repeated", "taken", "repeated"]
    assert [(each.id, each.user_id, str(each.verdict)) for each in crm.receipts] == [
        (id_, "u1", verdict) for id_, verdict in zip(("c1", "c2", "c1", "c2", "c3", "c3"), verdicts, strict=True)
    ]


def test_a_call_by_another_secret_changed_or_old_is_not_verified(crm):
    assert call(crm, secret=OTHER_SECRET) == 401
    assert call(crm, body=BODY.replace(b"u1", b"u2")) == 401
    assert call(crm, ago_s=OLDEST_S + 60) == 401
    assert call(crm, ago_s=-OLDEST_S - 60) == 401
    assert call(crm, "") == 401
    assert post(crm, {}, BODY) == 401
    assert post(crm, {"webhook-id": "c1", "webhook-timestamp": "soon", "webhook-signature": "v1,"}, b"") == 401
    assert set(crm.verdicts()) == {CrmVerdict.UNVERIFIED}
    assert {each.user_id for each in crm.receipts} == {""}
    assert call(crm) == 503


def test_the_endpoint_of_the_examples_leads_to_it_and_nothing_else_changes():
    folder = read_folder(EXAMPLES)
    led = led_to(folder, "http://127.0.0.1:4000/hooks")
    before, after = folder.load(), led.load()
    assert before.endpoints[ENDPOINT].url == URL
    assert before.endpoints[ENDPOINT].secret_names == [SECRET_NAME]
    assert after.endpoints[ENDPOINT].url == "http://127.0.0.1:4000/hooks"
    assert sum(a.text != b.text for a, b in zip(folder.rules, led.rules, strict=True)) == 1
    with pytest.raises(NoEndpoint, match="the demo replaces it"):
        led_to(led, "http://127.0.0.1:4001/")
