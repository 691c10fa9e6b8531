"""`ebbtide suppressions` on a running delivery: what is withheld, why, and what lifting and adding change."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until

from schemas.commands import SendCommand
from schemas.outcomes import Outcome, Reply
from schemas.topics import COMMANDS, OUTCOMES
from schemas.vocabulary import LedgerState, OutcomeKind

pytestmark = pytest.mark.servers

WHY = ("--reason", "ticket 4711", "--by", "ada")


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    for running in harbour(servers.kafka, database_url, tmp_path):
        running.start()
        yield running


def send(delivery: Harbour, user: str, *ends: LedgerState, **changes: object) -> SendCommand:
    command = a_command(user, delivery.publish_template(), **changes)
    delivery.publish(COMMANDS.name, command.user_id, command)
    delivery.wait_for(command, *ends)
    return command


def refused(delivery: Harbour) -> tuple[str, str, SendCommand]:
    """A user whom the receiver does not know: their address, their id, and the command that was refused."""
    user = delivery.publish_user("550")
    command = send(delivery, user, LedgerState.REFUSED)
    query = "SELECT 1 FROM deliveries WHERE command_id = %s"
    wait_until(lambda: delivery.rows(query, command.id), "the refusal is recorded")
    return f"550+{user}@example.net", user, command


def audit(delivery: Harbour) -> list[tuple[str, str, str, str, str | None]]:
    """What people changed. A new database reads the outcomes of earlier tests, and repeats their lifts."""
    query = """SELECT action, "by", why, scope, suppression->>'reason' FROM suppression_audit
               WHERE "by" <> 'reinstated' ORDER BY id"""
    return delivery.rows(query)


def test_an_address_is_listed_explained_and_lifted_with_an_audit(delivery: Harbour) -> None:
    address, user, command = refused(delivery)
    for narrowed in (["--address", address], ["--user", user], ["--reason", "hard_bounce"], ["--scope", "*"], []):
        listed = [
            json.loads(line)
            for line in delivery.command("suppressions", "list", "--json", *narrowed).stdout.splitlines()
        ]
        [found] = [each for each in listed if each["command_id"] == command.id]
        assert (found["user_id"], found["scope"]) == (user, "*")
        assert len(listed) == 1 or narrowed[:1] not in (["--address"], ["--user"])
    other_scope = ("--user", user, "--scope", "marketing")
    assert delivery.command("suppressions", "list", *other_scope).stdout == "0 suppressions\n"

    explained = delivery.command("suppressions", "explain", address)
    assert explained.returncode == 0
    assert f"hard_bounce   address {found['address_hash'][:12]}  user {user}  trigger hello" in explained.stdout
    assert "refused, purpose marketing (invalid_recipient): 550 5.1.1 no such user" in explained.stdout
    assert "@" not in explained.stdout

    lifted = delivery.command("suppressions", "lift", address.upper(), *WHY)
    assert lifted.returncode == 0, lifted.stderr
    assert "lifted in scope * by ada: ticket 4711 (was hard_bounce since" in lifted.stdout
    assert audit(delivery) == [("lift", "ada", "ticket 4711", "*", "hard_bounce")]
    after = delivery.command("suppressions", "explain", address)
    assert after.returncode == 1
    assert "lifted in scope * by ada: ticket 4711" in after.stdout
    send(delivery, user, LedgerState.REFUSED)
    query = "SELECT user_id FROM deliveries WHERE kind = 'reinstated' AND command_id = %s"
    assert wait_until(lambda: delivery.rows(query, command.id), "the outcome is recorded") == [(user,)]


def test_a_lift_names_the_command_instead_where_nobody_knows_the_address(delivery: Harbour) -> None:
    _, user, command = refused(delivery)
    assert delivery.command("suppressions", "lift", "--command", command.id, *WHY).returncode == 0
    send(delivery, user, LedgerState.REFUSED)
    assert delivery.command("suppressions", "lift", "--command", "unknown", *WHY).returncode == 1


def test_an_outcome_that_is_read_again_does_not_bring_back_what_was_lifted(delivery: Harbour) -> None:
    user = delivery.publish_user()
    command = send(delivery, user, LedgerState.ACCEPTED)
    outcome = Outcome(
        id=f"complaint-{user}", command_id=command.id, user_id=user, kind=OutcomeKind.COMPLAINED, time=datetime.now(UTC)
    )
    query = "SELECT reason FROM suppressions WHERE command_id = %s"
    delivery.publish(OUTCOMES.name, user, outcome)
    wait_until(lambda: delivery.rows(query, command.id), "a suppression")
    assert delivery.command("suppressions", "lift", f"ann+{user}@example.net", *WHY).returncode == 0
    delivery.publish(OUTCOMES.name, user, outcome)
    marker = delivery.publish_user("other")
    later = send(delivery, marker, LedgerState.ACCEPTED)
    delivery.publish(OUTCOMES.name, user, outcome.model_copy(update={"id": "marker", "command_id": later.id}))
    send(delivery, user, LedgerState.ACCEPTED, purpose="transactional")
    assert delivery.rows(query, command.id) == []


@pytest.mark.parametrize(
    ("reply", "hard", "suppresses"),
    [
        (Reply(code=550, enhanced="5.1.1", text="no such user"), True, True),
        (Reply(code=550, enhanced="5.1.1", text="no such user"), False, False),
        (Reply(code=550, enhanced="5.1.1", text="no such user"), None, False),
    ],
)
def test_a_bounce_withholds_by_what_delivery_said_of_it(
    delivery: Harbour, reply: Reply, hard: bool | None, suppresses: bool
) -> None:
    user = delivery.publish_user()
    command = send(delivery, user, LedgerState.ACCEPTED)
    fields = {"command_id": command.id, "user_id": user, "time": datetime.now(UTC)}
    bounce = Outcome(id=f"bounce-{user}", kind=OutcomeKind.BOUNCED, reply=reply, hard=hard, **fields)
    mark = Outcome(id=f"mark-{user}", kind=OutcomeKind.UNSUBSCRIBED, **fields)
    delivery.publish(OUTCOMES.name, user, bounce)
    delivery.publish(OUTCOMES.name, user, mark)  # read after the bounce, so that its absence is no race
    query = "SELECT reason FROM suppressions WHERE command_id = %s ORDER BY 1"
    wait_until(lambda: ("unsubscribed",) in delivery.rows(query, command.id), "the mark")
    assert delivery.rows(query, command.id) == ([("bounced",)] if suppresses else []) + [("unsubscribed",)]


def test_only_the_unsubscribed_purpose_is_lifted(delivery: Harbour) -> None:
    address, user, _ = refused(delivery)
    assert delivery.command("suppressions", "add", address, "--scope", "news", *WHY).returncode == 0
    assert delivery.command("suppressions", "lift", address, "--scope", "news", *WHY).returncode == 0
    listed = delivery.command("suppressions", "list", "--user", user, "--json").stdout.splitlines()
    assert [json.loads(line)["scope"] for line in listed] == ["*"]


def test_an_added_address_gets_no_mail_until_it_is_lifted(delivery: Harbour) -> None:
    user = delivery.publish_user()
    address = f"ann+{user}@example.net"
    assert delivery.command("suppressions", "add", address, *WHY).returncode == 0
    again = delivery.command("suppressions", "add", address, *WHY)
    assert (again.returncode, "explain" in again.stderr) == (1, True)
    send(delivery, user, LedgerState.SUPPRESSED, purpose="transactional")
    assert delivery.command("suppressions", "lift", address, *WHY).returncode == 0
    send(delivery, user, LedgerState.ACCEPTED, purpose="transactional")
    assert [action for action, *_ in audit(delivery)] == ["add", "lift"]


def test_nothing_is_lifted_if_kafka_does_not_answer(delivery: Harbour) -> None:
    address, _, command = refused(delivery)
    kafka, delivery.kafka = delivery.kafka, "127.0.0.1:1"
    failed = delivery.command("suppressions", "lift", address, *WHY)
    delivery.kafka = kafka
    assert failed.returncode == 2
    assert re.search("Kafka|not written", failed.stderr)
    assert "Traceback" not in failed.stderr
    assert len(delivery.rows("SELECT 1 FROM suppressions WHERE command_id = %s", command.id)) == 1
    assert audit(delivery) == []


def test_a_wrong_name_is_an_error_that_says_so(delivery: Harbour) -> None:
    for arguments, code, message in (
        (["explain", "ann"], 2, "not a plain mail address"),
        (["lift", *WHY], 2, "give an address, or --command"),
        (["lift", "nobody@example.net", *WHY], 1, "nothing to lift"),
        (["lift", "nobody@example.net", "--reason", " ", "--by", "ada"], 2, "must not be empty"),
        (["explain", "nobody@example.net"], 1, "not suppressed"),
    ):
        done = delivery.command("suppressions", *arguments)
        assert done.returncode == code
        assert message in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_list_is_imported_exported_and_removed(delivery: Harbour, tmp_path: Path) -> None:
    user = delivery.publish_user()
    address = f"ann+{user}@example.net"
    (tmp_path / "list.csv").write_text(f"address,reason\n{address},complained\n")
    for added in (1, 0):
        done = delivery.command("suppressions", "import", str(tmp_path / "list.csv"), *WHY)
        assert (done.returncode, f"1 read, {added} added" in done.stdout) == (0, True), done.stderr
    written = delivery.command("suppressions", "export").stdout.splitlines()
    exported = [line for line in written if line.count(",") >= 6]  # the delivery beside it may log a line meanwhile
    assert exported[0].startswith("address_hash,scope,reason,since,source,expires_at")
    assert any(line.split(",")[2] == "complained" for line in exported[1:])
    assert address not in "\n".join(exported)
    assert delivery.command("suppressions", "remove", address, *WHY).returncode == 0
    assert [action for action, *_ in audit(delivery)] == ["add", "lift"]


def test_a_list_with_a_wrong_line_adds_nothing(delivery: Harbour, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("address\nann@example.net\nnobody\n")
    done = delivery.command("suppressions", "import", str(tmp_path / "list.csv"), *WHY)
    assert (done.returncode, "line 3" in done.stderr, "nobody" in done.stderr) == (2, True, False)
    assert audit(delivery) == []
