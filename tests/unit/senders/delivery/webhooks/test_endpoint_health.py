"""What is known of an endpoint's URL, and that it says nothing of another one."""

from datetime import UTC, datetime, timedelta

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import SendResult
from senders.delivery.webhooks.endpoint_health import CAREFUL, FAILURES, EndpointHealth
from senders.policy.endpoints import EndpointBook
from senders.queue.suspensions import Suspension, url_hash

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
FAILED = SendResult(LedgerState.DEFERRED, DeliveryReason.TIMED_OUT, asked=timedelta(minutes=1))


def an_endpoint(url: str) -> Endpoint:
    return Endpoint(name="crm", url=url, secrets=("new",), timeout_ms=2000, retries=3)


OLD, NEW = an_endpoint("https://old.example/"), an_endpoint("https://new.example/")


def health_of(book: EndpointBook) -> EndpointHealth:
    return EndpointHealth(AsyncDatabase("", Outage("timescale")), book, lambda: NOW, lambda: None, Watchdog())


def test_another_url_is_told_as_suspended_no_more_and_called_without_care() -> None:
    book = EndpointBook()
    book.put([OLD])
    health = health_of(book)
    gone = Suspension("crm", url_hash(OLD.url), "endpoint_gone 410", 1, NOW, None)
    health._follow({"crm": gone})
    assert health.suspended() == [gone]
    assert len(health.problems()) == 1
    assert health.careful(OLD)

    book.put([NEW])

    assert (health.suspended(), health.problems()) == ([], [])
    assert not health.careful(NEW)
    assert health.rest(NEW) is None


def test_failures_of_one_url_neither_suspend_nor_slow_another() -> None:
    health = health_of(EndpointBook())
    for _ in range(FAILURES):
        health.answered(OLD, FAILED)
    assert health.rest(OLD) is not None
    assert health.rest(NEW) is None
    assert not health.careful(NEW)

    for _ in range(CAREFUL):
        health.answered(NEW, SendResult(LedgerState.DEFERRED, DeliveryReason.TIMED_OUT))

    assert health.careful(NEW)
    assert health.rest(NEW) is None
