"""The books of the demo: they balance when all is well, and each kind of mistake breaks its own line."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from cli.demo.books import Books, command_of, latencies, reconcile
from infra.local.sink_mails import ReceivedMail
from schemas.commands import SendCommand, command_id
from schemas.decisions import Decision
from schemas.outcomes import Outcome, outcome_id
from schemas.vocabulary import DecisionOutcome, OutcomeKind
from senders.content.dkim import Signer, dns_record, generate_key
from senders.content.headers import field
from senders.content.message import Message
from senders.content.signatures import SigningKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> Signer:
    key = generate_key(tmp_path_factory.mktemp("key") / "dkim.pem")
    return Signer("mail.example", [SigningKey("mail.example", "demo", key)])


def a_mail(signer: Signer, command: str) -> ReceivedMail:
    values = (("From", "a@mail.example"), ("To", "b@mail.example"), ("X-Ebbtide-Command", command))
    message = Message([field(name, value) for name, value in values], b"hello\r\n")
    raw = signer.sign(message, "mail.example", NOW)
    return ReceivedMail("a@mail.example", "b@mail.example", raw, NOW.timestamp())


@pytest.fixture
def books(signer) -> Books:
    """Three commands: accepted, refused, in doubt; one opened."""
    books = Books()
    for n, state in enumerate(("accepted", "refused", "in_doubt")):
        ident = command_id("t", f"u{n}", "o", "s")
        common = {
            "trigger": "t",
            "rule_hash": "r",
            "user_id": f"u{n}",
            "occurrence": "o",
            "step": "s",
            "decided_at": NOW,
        }
        sends = DecisionOutcome.SEND
        books.decisions.append(Decision(id=f"d{n}", outcome=sends, command_id=ident, event_ids=["e"], **common))
        books.commands.append(
            SendCommand(id=ident, template="x", template_hash="h", purpose="p", expires_at=NOW, **common)
        )
        books.ledger[ident] = state
        kind = OutcomeKind(state)
        books.outcomes.append(
            Outcome(id=outcome_id(ident, kind, 1), command_id=ident, user_id=f"u{n}", kind=kind, time=NOW)
        )
    first = books.commands[0].id
    books.mails.append(a_mail(signer, first))
    books.outcomes.append(Outcome(id="open", command_id=first, user_id="u0", kind=OutcomeKind.OPENED, time=NOW))
    books.rows = {"decisions": 3, "deliveries": 3, "engagement": 1}
    return books


def broken(books: Books, signer: Signer, clicked: int = 1) -> set[str]:
    record = dns_record(signer.keys[0].key).encode()
    return {check.says for check in reconcile(books, record, "demo", "mail.example", clicked) if not check.holds}


def test_the_books_balance(books, signer):
    assert broken(books, signer) == set()


def _drop_command(books: Books, _: Signer) -> None:
    books.commands.pop()


def _repeat_command(books: Books, _: Signer) -> None:
    books.commands[1] = books.commands[0]


def _repeat_decision(books: Books, _: Signer) -> None:
    books.decisions.append(books.decisions[0])


def _forget_in_ledger(books: Books, _: Signer) -> None:
    books.ledger.popitem()


def _lose_mail(books: Books, _: Signer) -> None:
    books.mails.clear()


def _send_twice(books: Books, _: Signer) -> None:
    books.mails.append(books.mails[0])


def _send_refused(books: Books, signer: Signer) -> None:
    books.mails.append(a_mail(signer, books.commands[1].id))


def _tamper(books: Books, _: Signer) -> None:
    mail = books.mails[0]
    books.mails[0] = ReceivedMail(mail.mail_from, mail.rcpt_to, mail.raw.replace(b"hello", b"hullo"), mail.received_at)


def _lose_row(books: Books, _: Signer) -> None:
    books.rows["deliveries"] -= 1


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (_drop_command, "commands = decisions to send"),
        (_repeat_command, "no command id twice"),
        (_repeat_decision, "no decision id twice"),
        (_forget_in_ledger, "commands = terminal + waiting + in doubt"),
        (_lose_mail, "one mail for each accepted command, and no other"),
        (_send_twice, "one mail for each accepted command, and no other"),
        (_send_refused, "one mail for each accepted command, and no other"),
        (_tamper, "every mail's DKIM verifies"),
        (_lose_row, "rows in deliveries = delivery outcomes"),
    ],
)
def test_a_mistake_breaks_its_line(books, signer, mistake: Callable[[Books, Signer], None], line):
    mistake(books, signer)
    assert line in broken(books, signer)


def test_a_webhook_is_no_mail(books, signer):
    books.commands[0] = books.commands[0].model_copy(update={"channel": "webhook"})
    assert broken(books, signer) == {"one mail for each accepted command, and no other"}
    books.mails.clear()
    assert broken(books, signer) == set()


def test_a_lost_click_breaks_its_line(books, signer):
    assert broken(books, signer, clicked=2) == {"rows in engagement = what readers did"}


def test_percentiles_are_of_the_nearest_rank():
    found = latencies(n / 1000 for n in range(1, 101))
    assert (found.count, found.p50_ms, found.p95_ms, found.p99_ms) == (100, 51.0, 96.0, 100.0)
    assert latencies([]).count == 0


def test_the_command_is_read_from_the_head_and_nowhere_else(signer):
    mail = a_mail(signer, "ab12")
    assert command_of(mail) == "ab12"
    elsewhere = mail.raw.replace(b"X-Ebbtide-Command: ab12\r\n", b"").replace(b"hello", b"X-Ebbtide-Command: ab12\r")
    assert command_of(ReceivedMail("a", "b", elsewhere, 0.0)) == ""
