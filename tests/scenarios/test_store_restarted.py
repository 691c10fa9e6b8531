"""TimescaleDB stops while mails are going out, and comes back."""

from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.whole_pipeline import THANKS, orders, pipeline

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

ORDERS = 1_500


def test_delivery_waits_for_the_store_says_so_once_and_loses_nothing(servers, database_url, tmp_path):
    users = [f"user-{n}" for n in range(ORDERS)]
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS)
        run.publish_users(users)
        run.publish_events(orders(users, datetime.now(UTC)))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: run.mails() >= 200, "200 mails are out", 120)
        log = tmp_path / "senders.log"
        servers.timescale_server.stop()
        try:
            wait_until(lambda: b"timescale_away" in log.read_bytes(), "delivery says that the store is away")
            while_away = run.mails()
        finally:
            servers.timescale_server.start()
        assert while_away < ORDERS, "the outage came too late to show anything"
        run.wait_drained()

        books = run.books()
        assert set(books.ledger) == {command.id for command in books.commands}
        assert len(books.ledger) == ORDERS
        assert set(books.ledger.values()) == {"accepted"}
        assert run.mailed() == dict.fromkeys(books.ledger, 1)
        assert books.rows["decisions"] == len(books.decisions)
        assert books.rows["deliveries"] == len({outcome.id for outcome in books.outcomes})
        warnings = [line for line in log.read_text().splitlines() if "timescale_away" in line]
        assert len(warnings) == 1, warnings
