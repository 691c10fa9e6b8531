"""The delivery worker is killed, again and again, in the middle of 20,000 events."""

import signal
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.whole_pipeline import THANKS, orders, pipeline

from schemas.events import Event
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

EVENTS, ORDERS = 20_000, 2_000
KILLED_AT = (200, 700, 1_300)


def test_nothing_is_lost_and_nothing_sent_twice_when_delivery_is_killed(servers, database_url, tmp_path):
    now = datetime.now(UTC)
    users = [f"user-{n}" for n in range(ORDERS)]
    views = [
        Event(id=f"view-{n}", type="product_viewed", user_id=users[n % ORDERS], time=now)
        for n in range(EVENTS - ORDERS)
    ]
    bought = list(orders(users, now))
    between = EVENTS // ORDERS - 1
    mixed = []
    for number, order in enumerate(bought):
        mixed += [order, *views[number * between : (number + 1) * between]]
    assert len(mixed) == EVENTS

    with pipeline(servers.kafka, database_url, tmp_path, in_doubt={}) as run:
        run.apply(THANKS)
        run.publish_users(users)
        run.publish_events(mixed)
        run.start_streams()
        run.harbour.start_process()
        for mails in KILLED_AT:
            wait_until(lambda n=mails: run.mails() >= n, f"{mails} mails are out", 120)
            run.harbour.end_process(signal.SIGKILL)
            run.harbour.start_process()
        run.wait_drained(180)

        books, mailed = run.books(), run.mailed()
        in_doubt = {c for c, state in books.ledger.items() if state == LedgerState.IN_DOUBT}
        accepted = {c for c, state in books.ledger.items() if state == LedgerState.ACCEPTED}
        ids = [command.id for command in books.commands]
        assert len(set(ids)) == ORDERS
        assert set(books.ledger) == set(ids)
        assert set(books.ledger.values()) <= {"accepted", "in_doubt"}, run.reasons()
        assert [c for c, n in mailed.items() if n > 1] == []
        assert accepted <= set(mailed)
        assert set(mailed) - accepted <= in_doubt
        assert len(in_doubt) <= len(KILLED_AT) * run.harbour.settings["connections"]
