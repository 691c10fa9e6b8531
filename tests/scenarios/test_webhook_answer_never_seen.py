"""Endpoints take the body and never answer: each such request is in doubt, and is made again with its id.

Where no retry is left, a person says what became of it.
"""

from collections import Counter
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.webhook_receiver import HttpAnswer, webhook_receiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import orders, pipeline

from schemas.vocabulary import OutcomeKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

USERS = 4
"""So few that the failures suspend no endpoint."""
HANGS_UP = HttpAnswer(close=True)
SILENT = HttpAnswer(after_s=60.0, close=True)
HELD = "SELECT command_id FROM ledger WHERE state = 'in_doubt'"
DOUBTS = "SELECT count(*) FROM ledger_queue WHERE state = 'in_doubt' AND next_attempt_at IS NULL"


def test_a_call_without_an_answer_is_in_doubt_and_made_again_with_its_id(servers, database_url, tmp_path):
    settings = SETTINGS | {"webhook_retry_first_s": 0.1, "webhook_retry_longest_s": 0.1}
    with webhook_receiver() as receiver, pipeline(servers.kafka, database_url, tmp_path, **settings) as run:
        receiver.script("/crm", [HANGS_UP] * USERS)
        receiver.script("/stock", [SILENT, HANGS_UP] * USERS)
        run.apply(
            tell(receiver.url("/crm"), retries=9),
            tell(receiver.url("/stock"), "stock", retries=1, method="put", timeout="4s"),
        )
        run.publish_events(orders([f"user-{n}" for n in range(USERS)], datetime.now(UTC)))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: run.harbour.rows(DOUBTS) == [(USERS,)], "all calls of stock are in doubt", 120)
        wait_until(lambda: run.states()["accepted"] == USERS, "all calls of crm were taken", 120)
        receiver.script("/stock", [])  # a call that timed out before it was read has left its answer
        held = {command_id for (command_id,) in run.harbour.rows(HELD)}
        taken, again, *others = sorted(held)
        why = ("--reason", "we asked them", "--by", "ada")
        for ids, decided in (([taken, *others], "accepted"), ([again], "resend")):
            settled = run.harbour.command("senders", "settle", *ids, "--as", decided, *why)
            assert settled.returncode == 0, settled.stderr
        wait_until(lambda: run.states() == {"accepted": 2 * USERS}, "all calls were taken", 120)
        run.wait_drained()

        books = run.books()
        doubts = Counter(each.command_id for each in books.outcomes if each.kind is OutcomeKind.IN_DOUBT)
        for endpoint in ("crm", "stock"):
            ids = {command.id for command in books.commands if command.template == endpoint}
            calls = receiver.calls(f"/{endpoint}")
            assert len(ids) == USERS
            assert {call.id for call in calls} == ids
            assert len({(call.id, call.body) for call in calls}) == USERS
        by_crm = Counter(call.id for call in receiver.calls("/crm"))
        assert all(by_crm[each] == doubts[each] + 1 for each in by_crm)
        by_stock = Counter(call.id for call in receiver.calls("/stock"))
        assert by_stock == Counter({each: 3 if each == again else 2 for each in held})
        assert all(doubts[each] == 2 for each in held)
        told = run.harbour.command("explain", "command", again)
        assert "to the endpoint stock at 127.0.0.1" in told.stdout, told.stderr
