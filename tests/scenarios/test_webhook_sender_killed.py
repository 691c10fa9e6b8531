"""Delivery is killed while an endpoint has its requests: each is made again with its id, and none is lost."""

import signal
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.webhook_receiver import SECRET, HttpAnswer, webhook_receiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import orders, pipeline

from schemas.vocabulary import OutcomeKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

USERS = 60


def test_a_killed_sender_repeats_its_calls_with_their_ids_and_loses_none(servers, database_url, tmp_path):
    with webhook_receiver() as receiver, pipeline(servers.kafka, database_url, tmp_path, **SETTINGS) as run:
        receiver.script("/crm", [*[HttpAnswer()] * 20, *[HttpAnswer(after_s=60.0)] * 8])
        run.apply(tell(receiver.url("/crm")))
        run.publish_events(orders([f"user-{n}" for n in range(USERS)], datetime.now(UTC)))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: len(receiver.calls("/crm")) >= 28, "eight calls have no answer yet")
        run.harbour.end_process(signal.SIGKILL)
        run.harbour.start_process()
        wait_until(lambda: run.states() == {"accepted": USERS}, "every call was taken", 120)
        run.wait_drained()

        books, calls = run.books(), receiver.calls("/crm")
        ids = {command.id for command in books.commands}
        assert {call.id for call in calls} == ids
        assert len(ids) == USERS
        repeated = [call.id for call in calls[:28] if sum(each.id == call.id for each in calls) > 1]
        assert len(calls) == USERS + len(repeated)
        assert 1 <= len(repeated) <= 8
        assert all(call.is_signed_by(SECRET) for call in calls)
        assert {call.json["data"]["order"] for call in calls} == {f"order-{n}" for n in range(USERS)}
        doubted = {o.command_id for o in books.outcomes if o.kind is OutcomeKind.IN_DOUBT}
        assert doubted == {*repeated}
        assert {o.channel for o in books.outcomes} == {"webhook"}
        assert run.mails() == 0
        told = run.harbour.command("explain", "command", repeated[0])
        assert "to the endpoint crm at 127.0.0.1" in told.stdout, told.stderr
