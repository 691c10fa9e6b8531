"""The receiver of webhooks is away while orders come, and comes back: each call waits for it, mails do not."""

from datetime import UTC, datetime

import pytest
from drivers.free_ports import free_port
from drivers.running_senders import wait_until
from drivers.webhook_receiver import SECRET, WebhookReceiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import THANKS, orders, pipeline

from schemas.vocabulary import OutcomeKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

USERS = [f"user-{n}" for n in range(6)]
TRIED = "SELECT count(DISTINCT command_id) FROM ledger_outcomes WHERE channel = 'webhook' AND reason = 'unreachable'"
COMES_BACK_WITHIN_S = 240.0
"""Should the endpoint be suspended meanwhile, that lasts a minute at first, and two then."""


def test_calls_wait_for_a_receiver_that_is_away_and_mails_do_not(servers, database_url, tmp_path):
    port = free_port()
    settings = SETTINGS | {"webhook_retry_first_s": 1.0, "webhook_retry_longest_s": 4.0}
    with pipeline(servers.kafka, database_url, tmp_path, **settings) as run:
        run.apply(THANKS, tell(f"http://127.0.0.1:{port}/crm", retries=50))
        run.publish_users(USERS)
        run.publish_events(orders(USERS, datetime.now(UTC)))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: run.harbour.rows(TRIED) == [(len(USERS),)], "each call was tried")
        wait_until(lambda: run.mails() == len(USERS), "all mails are sent")
        with WebhookReceiver(port) as receiver:
            wait_until(lambda: run.states() == {"accepted": 2 * len(USERS)}, "all is taken", COMES_BACK_WITHIN_S)
            run.wait_drained()
            calls = receiver.calls("/crm")

        books = run.books()
        assert {call.id for call in calls} == {c.id for c in books.commands if c.channel == "webhook"}
        assert len(calls) == len(USERS)  # what was not connected to was never handed over
        assert all(call.is_signed_by(SECRET) for call in calls)
        outcomes = [outcome for outcome in books.outcomes if outcome.channel == "webhook"]
        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.DEFERRED, OutcomeKind.ACCEPTED}
        assert sum(outcome.kind is OutcomeKind.ACCEPTED for outcome in outcomes) == len(USERS)
