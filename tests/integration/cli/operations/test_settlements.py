"""`ebbtide senders settle` for commands in doubt, and `ebbtide explain command` for the life of one mail."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers.command_line import Done
from drivers.real_servers import RealServers
from drivers.running_senders import DOMAIN, Harbour, a_command, harbour, have_topics, wait_until

from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = pytest.mark.servers

WHO = ("--reason", "their log", "--by", "ada")


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    for running in harbour(servers.kafka, database_url, tmp_path, retry_first_s=3600.0, retry_longest_s=3600.0):
        running.start_process()
        yield running


def send(delivery: Harbour, local_part: str, end: LedgerState, **changes: Any) -> SendCommand:
    command = a_command(delivery.publish_user(local_part), delivery.publish_template(), **changes)
    delivery.publish(COMMANDS.name, command.user_id, command)
    delivery.wait_for(command, end)
    return command


def settle(delivery: Harbour, decided: str, *ids: str) -> Done:
    return delivery.command("senders", "settle", *ids, "--as", decided, *WHO)


def explained(delivery: Harbour, given: str) -> str:
    done = delivery.command("explain", "command", given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def recorded(delivery: Harbour, command: SendCommand, kind: str) -> list[Any]:
    query = "SELECT classification, attempt FROM deliveries WHERE command_id = %s AND kind = %s"
    return wait_until(lambda: delivery.rows(query, command.id, kind), f"{kind} is recorded")


def test_commands_in_doubt_are_settled_by_id_or_message_id_and_recorded(delivery: Harbour) -> None:
    arrived, lost, again = (send(delivery, "keep-then-drop-1", LedgerState.IN_DOUBT) for _ in range(3))
    assert "waits for a person: `ebbtide senders settle ID" in explained(delivery, arrived.id)

    said = settle(delivery, "accepted", f"<{arrived.id}@{DOMAIN}>")
    assert (said.returncode, said.stdout) == (0, f"{arrived.id}  is settled as accepted\n")
    assert recorded(delivery, arrived, "accepted") == [("settled: by ada: their log", 1)]
    assert settle(delivery, "failed", lost.id).returncode == 0
    assert recorded(delivery, lost, "failed") == [("settled: by ada: their log", 1)]

    assert settle(delivery, "resend", again.id).stdout == f"{again.id}  is sent again\n"
    delivery.wait_for(again, LedgerState.ACCEPTED)
    assert len(delivery.mails(again)) == 2
    assert recorded(delivery, again, "accepted")[0][1] == 2
    decided = delivery.rows("SELECT command_id, decided, by, why, attempt FROM settlements ORDER BY id")
    assert decided == [
        (arrived.id, "accepted", "ada", "their log", 1),
        (lost.id, "failed", "ada", "their log", 1),
        (again.id, "resend", "ada", "their log", 1),
    ]
    assert "settled as resend by ada: their log" in explained(delivery, again.id)


def test_an_attempt_of_a_lost_worker_has_no_way_and_none_is_said(delivery: Harbour) -> None:
    doubtful = send(delivery, "keep-then-drop-1", LedgerState.IN_DOUBT)
    # What `leases` writes for a lost worker, and what an outcome from before the ways were kept has.
    delivery.rows("UPDATE ledger_outcomes SET path = NULL WHERE command_id = ledger_key(%s) RETURNING 1", doubtful.id)
    assert "attempt 1 by a way that is not recorded" in explained(delivery, doubtful.id)


def test_what_is_not_in_doubt_is_not_settled(delivery: Harbour) -> None:
    sent = send(delivery, "ann", LedgerState.ACCEPTED)
    done = settle(delivery, "failed", sent.id, "0" * 32)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{sent.id}  is accepted, not in doubt; nothing is changed",
        f"{'0' * 32}  is not in the ledger",
    ]
    assert delivery.state(sent.id) == LedgerState.ACCEPTED
    assert delivery.command("senders", "settle", sent.id, "--as", "lost", *WHO).returncode == 2


def test_a_waiting_command_is_explained_with_what_it_waits_for_and_until_when(delivery: Harbour) -> None:
    deferred = send(delivery, "451", LedgerState.DEFERRED)
    recorded(delivery, deferred, "deferred")
    life = json.loads(delivery.command("explain", "command", deferred.id, "--json").stdout)
    assert (life["trigger"], life["purpose"], life["delivery"]["attempt"]) == ("hello", "marketing", 1)
    assert life["waits"].startswith("until ")
    shown = explained(delivery, f"{deferred.id}@{DOMAIN}")
    assert f"command {deferred.id}: to be sent, the receiver asked to try later" in shown
    assert "451 4.7.1 try again later" in shown
    assert "attempt 1 began by " in shown

    unknown = delivery.command("explain", "command", "f" * 32)
    assert unknown.returncode == 2
    assert f"no command {'f' * 32}: delivery has not read it yet" in unknown.stderr
    assert delivery.command("explain").returncode == 2


def test_a_settlement_needs_no_delivery_that_ran_lately_and_its_outcome_names_no_address(delivery: Harbour) -> None:
    lost = send(delivery, "keep-then-drop-1", LedgerState.IN_DOUBT)
    recorded(delivery, lost, "in_doubt")
    delivery.end_process(signal.SIGTERM)
    with psycopg.connect(delivery.database_url, autocommit=True) as connection:
        names = """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                   WHERE inhparent = 'ledger_outcomes'::regclass"""
        for (name,) in connection.execute(names).fetchall():
            connection.execute(f"DROP TABLE {name}")
    why = ("--reason", "ann@example.net has it not", "--by", "ada@harbour.example")
    done = delivery.command("senders", "settle", lost.id, "--as", "failed", *why)
    assert (done.returncode, done.stdout) == (0, f"{lost.id}  is settled as failed\n"), done.stderr
    details = delivery.rows("SELECT detail FROM ledger WHERE command_id = %s", lost.id)
    assert details == [("by <address> <address> has it not",)]
    assert delivery.rows("SELECT by, why FROM settlements") == [("ada@harbour.example", "ann@example.net has it not")]
