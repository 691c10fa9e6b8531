"""The act of the restock: one event without a user reaches the customers who wait for an album, and the CRM hears of
each.

The event is published twice with one id, as a backend does that got no answer. Who took the wish back, who waits for
another album and who asks too late is not reached.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import psycopg

from cli.demo.books import Books, Check
from cli.demo.crm import PATH, Crm, CrmReceipt, CrmVerdict
from cli.demo.crowd import ALBUMS, takes_every_mail
from cli.demo.http_feed import HttpFeed
from cli.demo.restock_books import RULE, StockAlerts, check_restock, mailed, told
from cli.environment import Environment
from cli.manifests.running import read_running
from cli.rules import command_life
from schemas.events import Event
from streams.decisions.evaluate import state_changelog
from streams.settings import StreamSettings

WAITING, CANCELLED, OTHER, LATE = 120, 20, 40, 20
ALBUM, OTHER_ALBUM = "The Köln Concert", "Mezzanine"
ASKED, CANCELLED_AFTER = timedelta(hours=2), timedelta(hours=1)
"""So long before the restock customers asked, and so long after that some of them took it back."""
COPIES, TIMES = 150, 2
"""The event says how many copies came in, and is published so many times."""


class AlertGroup(NamedTuple):
    """Customers who asked, and how many mails and webhooks went out because of them."""

    title: str
    customers: int
    mails: int
    webhooks: int


@dataclass(slots=True)
class Restock:
    """The act as it went."""

    alerts: StockAlerts
    event: Event
    url: str
    receipts: list[CrmReceipt] = field(default_factory=list)
    still_waiting: int = 0
    """How many occurrences wait at the end, by the states of the stream workers."""
    life: list[str] = field(default_factory=list)
    """What `ebbtide explain command` says of the webhook that the CRM failed."""

    @property
    def events(self) -> int:
        """How many events were published."""
        return self.alerts.asked + len(self.alerts.cancelled) + TIMES

    def checks(self, books: Books) -> list[Check]:
        """What must hold of it."""
        return list(check_restock(self.alerts, self.receipts, books, self.still_waiting))

    def groups(self, books: Books) -> list[AlertGroup]:
        """Who asked, by what became of it."""
        mails, webhooks = mailed(books), told(self.receipts)
        alerts = self.alerts
        groups = (
            (f"waited for {ALBUM}", alerts.waiting),
            ("waited for it, and took that back", alerts.cancelled),
            (f"wait for {OTHER_ALBUM}, which is not back", alerts.other),
            ("asked when it was back already", alerts.late),
        )
        return [
            AlertGroup(title, len(users), sum(mails[user] for user in users), sum(webhooks[user] for user in users))
            for title, users in groups
        ]

    def counts(self, books: Books) -> dict[str, Any]:
        """The figures of the demo's last line."""
        verdicts = Counter(str(each.verdict) for each in self.receipts)
        waited = self.groups(books)[0]
        return {
            "asked": self.alerts.asked,
            "waited": waited.customers,
            "mails": waited.mails,
            "still_waiting": self.still_waiting,
            "webhook_calls": dict(sorted(verdicts.items())),
        }

    @property
    def failed(self) -> str:
        """The id of the webhook that the CRM failed; empty without one."""
        return next((each.id for each in self.receipts if each.verdict is CrmVerdict.FAILED), "")


class RestockAct:
    """One run of it, with some of these customers, at `now`."""

    def __init__(self, environment: Environment, crm: Crm, customers: Iterable[str], now: datetime) -> None:
        self._environment = environment
        self._crm = crm
        event = Event(
            id="restock-1",
            type="restocked",
            user_id=None,
            time=now,
            properties={"sku": _sku(ALBUM), "copies": COPIES},
        )
        self.restock = Restock(stock_alerts(customers), event, crm.url(PATH))

    def begin(self, feed: HttpFeed) -> None:
        """Customers ask to be told, some of them change their mind, and then the album is back."""
        alerts, asked = self.restock.alerts, self.restock.event.time - ASKED
        feed.send([_asked(each, ALBUM, asked) for each in (*alerts.waiting, *alerts.cancelled)])
        feed.send([_asked(each, OTHER_ALBUM, asked) for each in alerts.other])
        cancelled = asked + CANCELLED_AFTER
        feed.send([_event("stock_alert_cancelled", each, cancelled, sku=_sku(ALBUM)) for each in alerts.cancelled])
        for _ in range(TIMES):
            feed.send([self.restock.event])

    def left(self) -> int:
        """How many mails and webhooks are not accepted yet; 0 if the CRM cannot verify ours, which will not change."""
        query = "SELECT count(*) FROM ledger WHERE trigger = %s AND state = 'accepted'"
        with psycopg.connect(self._environment.ledger_url) as connection:
            row = connection.execute(query, [RULE]).fetchone()
        left = 2 * len(self.restock.alerts.waiting) - (row[0] if row else 0)
        return 0 if self._crm.verdicts()[CrmVerdict.UNVERIFIED] else left

    def ask_late(self, feed: HttpFeed, now: datetime) -> None:
        """More customers ask, after all is applied that concerns the restock."""
        feed.send([_asked(each, ALBUM, now) for each in self.restock.alerts.late])

    def end(self) -> Restock:
        """The act, when all is settled."""
        restock, environment = self.restock, self._environment
        restock.receipts = self._crm.receipts
        changelog = state_changelog(StreamSettings().streams_group)
        running = read_running(environment.kafka, changelog, {RULE}).get(RULE)
        restock.still_waiting = running.occurrences if running is not None else 0
        if restock.failed:
            life = command_life.read(environment.ledger_url, environment.database_url, restock.failed)
            restock.life = list(command_life.lines(life))
        return restock


def stock_alerts(customers: Iterable[str]) -> StockAlerts:
    """Who asks for what. All of them have a mailbox that takes every mail, so that each mail can be counted."""
    chosen = filter(takes_every_mail, customers)
    return StockAlerts(*(tuple(islice(chosen, size)) for size in (WAITING, CANCELLED, OTHER, LATE)))


def _asked(customer: str, album: str, at: datetime) -> Event:
    return _event("stock_alert_requested", customer, at, sku=_sku(album), album=album)


def _event(kind: str, customer: str, at: datetime, **properties: Any) -> Event:
    return Event(id=f"{kind}-{customer}", type=kind, user_id=customer, time=at, properties=properties)


def _sku(album: str) -> str:
    return f"cd-{ALBUMS.index(album)}"
