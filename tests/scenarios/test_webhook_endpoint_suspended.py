"""An endpoint fails and is suspended: no worker calls it, mails go on, and once a person lifts that, all goes out."""

import json
import signal
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.webhook_receiver import HttpAnswer, webhook_receiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import THANKS, orders, pipeline

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

USERS = [f"user-{n}" for n in range(20)]
FAILURES = 10
WAITING = "SELECT count(*) FROM ledger WHERE reason = 'limited' AND detail LIKE 'endpoint crm: suspended%'"


def test_a_suspended_endpoint_is_left_alone_until_a_person_lifts_that(servers, database_url, tmp_path):
    settings = SETTINGS | {"webhook_retry_first_s": 0.1, "webhook_retry_longest_s": 0.1}
    with webhook_receiver() as receiver, pipeline(servers.kafka, database_url, tmp_path, **settings) as run:
        receiver.script("/crm", [HttpAnswer(500)] * 1_000)
        run.apply(THANKS, tell(receiver.url("/crm"), retries=50))
        run.publish_users(USERS)
        run.publish_events(orders(USERS[:10], datetime.now(UTC), "first"))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: run.harbour.rows("SELECT 1 FROM webhook_suspensions"), "the endpoint is suspended")
        run.harbour.rows("UPDATE webhook_suspensions SET until = until + interval '1 hour' RETURNING 1")
        wait_until(lambda: run.harbour.rows(WAITING) == [(10,)], "all calls wait")
        failed = len(receiver.calls("/crm"))
        assert failed >= FAILURES
        receiver.script("/crm", [])

        run.harbour.end_process(signal.SIGKILL)
        run.harbour.start_process()  # what is known of the endpoint outlives the worker
        run.publish_events(orders(USERS[10:], datetime.now(UTC), "second"))
        wait_until(lambda: run.harbour.rows(WAITING) == [(20,)], "the new calls wait too")
        wait_until(lambda: run.mails() == 20, "mails go on")
        assert len(receiver.calls("/crm")) == failed
        assert "crm at 127.0.0.1: suspended" in run.harbour.command("endpoints", "list").stdout

        lifted = run.harbour.command("endpoints", "lift", "crm", "--reason", "they are back", "--by", "ada")
        assert lifted.returncode == 0, lifted.stderr
        wait_until(lambda: run.states() == {"accepted": 40}, "all calls went out", 120)
        run.wait_drained()

        ids = {command.id for command in run.books().commands if command.channel == "webhook"}
        assert sorted(call.id for call in receiver.calls("/crm")[failed:]) == sorted(ids)
        log = [json.loads(line) for line in (run.directory / "senders.log").read_text().splitlines()]
        told = [(each["event"], each.get("reason")) for each in log if each["event"].startswith("endpoint_")]
        assert {*told} == {("endpoint_suspended", "http_status 500"), ("endpoint_resumed", None)}
        assert told[-1][0] == "endpoint_resumed"
