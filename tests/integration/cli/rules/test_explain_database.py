"""`ebbtide explain` on the hypertable that the recorder writes."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
from drivers.command_line import ebbtide
from drivers.free_ports import free_port
from drivers.running_senders import have_topics
from drivers.whole_pipeline import TEMPLATE, THANKS
from rich.console import Console

from cli.manifests.publication import apply_folder
from cli.rules.explain import DecisionsMissing, as_json, from_database, show
from cli.rules.rule_folder import Folder
from schemas.commands import SendCommand
from schemas.decisions import Decision, GateAnswer
from schemas.outcomes import Outcome, Reply
from schemas.vocabulary import DecisionOutcome, Gate, LedgerState, OutcomeKind, Reason
from senders.queue.ledger import Admission, admit
from senders.recording.recorder import Recorder

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def decision(number: int, trigger: str = "cart", user_id: str = "u1") -> Decision:
    return Decision(
        id=f"{number:032x}",
        trigger=trigger,
        rule_hash="r",
        user_id=user_id,
        occurrence="o",
        step="s",
        outcome=DecisionOutcome.DROP,
        reason=Reason.MODE,
        gates=[GateAnswer(gate=Gate.MODE, passed=False, observed="off")],
        event_ids=["e1"],
        inputs={"zone": "UTC", "due": NOW.isoformat()},
        decided_at=NOW + timedelta(minutes=number),
    )


def test_the_last_decisions_come_back_as_they_were_recorded_oldest_first(database_url: str) -> None:
    decisions = [decision(1), decision(2), decision(3, "other"), decision(4), decision(5, user_id="u2")]
    with psycopg.connect(database_url, autocommit=True) as connection:
        Recorder.write(object.__new__(Recorder), connection, decisions)
    found = from_database(database_url, database_url, "u1", "cart", 2)
    assert [each.decision for each in found] == [decisions[1], decisions[3]]
    assert [each.verification.verified for each in found] == [True, True]
    assert [each.decision for each in from_database(database_url, database_url, "u1", None, 9)] == decisions[:4]
    assert from_database(database_url, database_url, "nobody", None, 9) == []


def test_a_database_without_tables_says_what_to_do(empty_database_url: str) -> None:
    with pytest.raises(DecisionsMissing, match="ebbtide migrate"):
        from_database(empty_database_url, empty_database_url, "u1", None, 5)


def ident(number: int) -> str:
    return f"{number:032x}"


def sent(number: int, trigger: str = "cart") -> Decision:
    made = decision(number, trigger).model_dump() | {"outcome": DecisionOutcome.SEND, "reason": None}
    return Decision.model_validate(made | {"command_id": ident(number)})


def command(number: int) -> SendCommand:
    return SendCommand(
        **{"id": ident(number), "trigger": "cart", "rule_hash": "r", "occurrence": "o", "step": "s", "user_id": "u1"},
        **{"channel": "email", "template": "t", "template_hash": "h", "purpose": "marketing", "decided_at": NOW},
        expires_at=NOW + timedelta(days=1),
    )


def test_a_send_is_explained_with_delivery_s_answer_and_what_followed(database_url: str) -> None:
    reply = Reply(code=250, text="ok")
    mail = Outcome(id="o1", command_id=ident(2), user_id="u1", trigger="cart", kind=OutcomeKind.ACCEPTED, time=NOW)
    opened = {"id": "o2", "kind": OutcomeKind.OPENED, "time": NOW + timedelta(hours=1)}
    outcomes = [mail.model_copy(update={"reply": reply}), mail.model_copy(update=opened)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        admit(connection, [Admission.of(0, command(number)) for number in (1, 2)], NOW)
        ended = """INSERT INTO ledger_outcomes (command_id, partition, user_id, trigger, purpose, attempt, admitted_at,
                                                state, state_at, hard, reason, reply)
                   SELECT command_id, partition, user_id, trigger, purpose, 1, admitted_at, %s, now(), false, %s, %s
                   FROM ledger_queue WHERE command_id = %s::uuid"""
        connection.execute(ended, ("suppressed", "no_recipient", None, ident(1)))
        connection.execute(ended, ("accepted", None, '{"code": 250}', ident(2)))
        connection.execute("DELETE FROM ledger_queue")
        Recorder.write(object.__new__(Recorder), connection, [sent(1), sent(2), sent(3), *outcomes])
    first, second, third = from_database(database_url, database_url, "u1", None, 9)
    out = StringIO()
    show(Console(file=out, width=200), [first, second, third])
    output = out.getvalue()
    assert "cart, s: not sent, delivery withheld it: the user has no address" in output
    assert "cart, s: sent\n" in output
    assert "opened" in output
    assert "cart, s: to be sent, not yet read by delivery" in output
    assert first.delivery is not None
    assert first.delivery.state is LedgerState.SUPPRESSED
    [first_json, *_] = as_json([first])
    assert first_json["delivery"]["reason"] == "no_recipient"


def test_a_full_cap_is_explained_with_the_sends_that_it_counted(database_url: str) -> None:
    full = decision(9).model_copy(update={"inputs": {"zone": "UTC", "counted": [ident(1), ident(2), "gone"]}})
    with psycopg.connect(database_url, autocommit=True) as connection:
        Recorder.write(object.__new__(Recorder), connection, [sent(1), sent(2, "win-back"), full])
    [found] = from_database(database_url, database_url, "u1", None, 1)
    out = StringIO()
    show(Console(file=out, width=200), [found])
    lines = [line.split("counted")[1].strip() for line in out.getvalue().splitlines() if "counted" in line]
    assert lines == [
        "2026-11-22 03:01:00 UTC  cart, s",
        "2026-11-22 03:02:00 UTC  win-back, s",
        "command gone",
    ]
    assert [each["command_id"] for each in as_json([found])[0]["counted"]] == [ident(1), ident(2), "gone"]


def test_a_rule_that_is_not_there_is_said_and_without_kafka_there_is_just_no_decision(
    servers, database_url: str
) -> None:
    have_topics(servers.kafka)
    apply_folder(servers.kafka, Folder("test", [THANKS], {"thanks": TEMPLATE}))
    asked = ("explain", "--user", "u9", "--trigger", "thansk")
    for kafka, words in (
        (servers.kafka, "no rule `thansk` in the current rules; did you mean `thanks`?\n"),
        (f"127.0.0.1:{free_port()}", "no decision of thansk about u9: nothing that concerns them reached a gate; "),
    ):
        done = ebbtide(*asked, EBBTIDE_DATABASE_URL=database_url, EBBTIDE_KAFKA=kafka)
        assert (done.returncode, done.stdout.startswith(words)) == (1, True), (done.stdout, done.stderr)
