"""The books of the restock: they balance when all is well, and each kind of mistake breaks its own line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from cli.demo.books import Books
from cli.demo.crm import CrmReceipt, CrmVerdict
from cli.demo.crowd import mailbox, takes_every_mail
from cli.demo.restock import CANCELLED, LATE, OTHER, WAITING, Restock, stock_alerts
from cli.demo.restock_books import RULE, StockAlerts
from infra.local.sink_mails import ReceivedMail
from schemas.commands import SendCommand, command_id
from schemas.events import Event
from schemas.outcomes import Outcome, outcome_id
from schemas.vocabulary import OutcomeKind

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MAILS = "a restock mails everybody who waits for it once, and nobody else"
REST = "who wants another album, or asks too late, still waits"
WEBHOOKS = "the CRM takes one webhook for each customer mailed, and no other"
SIGNED = "every webhook's signature verifies"
AGAIN = "a call that failed, or got no answer, is made again with its id"
ANSWERED = "the outcomes of webhooks = what the CRM answered"
CUSTOMERS = [each for each in (f"customer-{n:05d}" for n in range(400)) if takes_every_mail(each)]


@dataclass
class ToldRestock:
    """A restock and the books beside it."""

    restock: Restock
    books: Books

    def broken(self) -> set[str]:
        return {check.says for check in self.restock.checks(self.books) if not check.holds}

    def judge(self, at: int, **changes: object) -> None:
        """Changes one of the CRM's receipts."""
        self.restock.receipts[at] = replace(self.restock.receipts[at], **changes)


@pytest.fixture
def told() -> ToldRestock:
    """Three wait and are told; of the webhooks the first fails once, and the second gets no answer once."""
    waiting = tuple(CUSTOMERS[:3])
    alerts = StockAlerts(waiting, tuple(CUSTOMERS[3:4]), tuple(CUSTOMERS[4:6]), tuple(CUSTOMERS[6:7]))
    event = Event(id="r", type="restocked", user_id=None, time=NOW)
    told = ToldRestock(Restock(alerts, event, "http://127.0.0.1:1/", still_waiting=3), Books())
    answers = [[CrmVerdict.FAILED, CrmVerdict.TAKEN], [CrmVerdict.UNANSWERED, CrmVerdict.REPEATED], [CrmVerdict.TAKEN]]
    for user, verdicts in zip(waiting, answers, strict=True):
        told.books.mails.append(mail(user, add_command(told.books, user, "email")))
        id_ = add_command(told.books, user, "webhook")
        told.restock.receipts += [CrmReceipt(id_, user, verdict, NOW.timestamp()) for verdict in verdicts]
        for attempt, verdict in enumerate(verdicts, 1):
            told.books.outcomes.append(outcome(id_, user, KINDS.get(verdict, OutcomeKind.ACCEPTED), attempt))
    return told


KINDS = {CrmVerdict.FAILED: OutcomeKind.DEFERRED, CrmVerdict.UNANSWERED: OutcomeKind.IN_DOUBT}


def add_command(books: Books, user: str, channel: str) -> str:
    step = "crm" if channel == "webhook" else RULE
    id_ = command_id(RULE, user, "o", step)
    fields = {"trigger": RULE, "rule_hash": "r", "user_id": user, "occurrence": "o", "step": step, "channel": channel}
    rest = {"template": step, "template_hash": "", "purpose": "transactional", "decided_at": NOW, "expires_at": NOW}
    books.commands.append(SendCommand.model_validate({"id": id_, **fields, **rest}))
    books.ledger[id_] = "accepted"
    return id_


def mail(user: str, command: str) -> ReceivedMail:
    raw = f"X-Ebbtide-Command: {command}\r\n\r\nIt is back".encode()
    return ReceivedMail("hello@mail.example", mailbox(user), raw, NOW.timestamp())


def outcome(command: str, user: str, kind: OutcomeKind, attempt: int) -> Outcome:
    id_ = outcome_id(command, kind, attempt)
    return Outcome(id=id_, command_id=command, user_id=user, kind=kind, time=NOW, channel="webhook", attempt=attempt)


def test_the_books_balance(told):
    assert told.broken() == set()


def _lose_a_mail(told: ToldRestock) -> None:
    told.books.mails.pop()


def _mail_twice(told: ToldRestock) -> None:
    told.books.mails.append(told.books.mails[0])


def _mail_another_address(told: ToldRestock) -> None:
    told.books.mails[0] = mail(CUSTOMERS[5], told.books.commands[0].id)


def _mail_who_took_it_back(told: ToldRestock) -> None:
    user = told.restock.alerts.cancelled[0]
    told.books.mails.append(mail(user, add_command(told.books, user, "email")))


def _forget_who_waits(told: ToldRestock) -> None:
    told.restock.still_waiting -= 1


def _lose_a_webhook(told: ToldRestock) -> None:
    told.restock.receipts.pop()


def _take_twice(told: ToldRestock) -> None:
    told.judge(3, verdict=CrmVerdict.TAKEN)


def _take_another_id(told: ToldRestock) -> None:
    told.judge(4, id="c" * 32)


def _tell_of_another_user(told: ToldRestock) -> None:
    told.judge(4, user_id=told.restock.alerts.late[0])


def _leave_in_doubt(told: ToldRestock) -> None:
    told.books.ledger[told.restock.receipts[4].id] = "in_doubt"


def _sign_by_another_secret(told: ToldRestock) -> None:
    told.judge(4, verdict=CrmVerdict.UNVERIFIED, user_id="")


def _never_fail(told: ToldRestock) -> None:
    del told.restock.receipts[0]


def _lose_an_outcome(told: ToldRestock) -> None:
    told.books.outcomes.pop()


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (_lose_a_mail, MAILS),
        (_mail_twice, MAILS),
        (_mail_another_address, MAILS),
        (_mail_who_took_it_back, MAILS),
        (_forget_who_waits, REST),
        (_lose_a_webhook, WEBHOOKS),
        (_take_twice, WEBHOOKS),
        (_take_twice, AGAIN),
        (_take_another_id, WEBHOOKS),
        (_tell_of_another_user, WEBHOOKS),
        (_leave_in_doubt, WEBHOOKS),
        (_sign_by_another_secret, SIGNED),
        (_sign_by_another_secret, WEBHOOKS),
        (_never_fail, AGAIN),
        (_never_fail, ANSWERED),
        (_lose_an_outcome, ANSWERED),
    ],
)
def test_a_mistake_breaks_its_line(told, mistake: Callable[[ToldRestock], None], line):
    mistake(told)
    assert line in told.broken()


def test_a_restock_that_nobody_waited_for_breaks_the_books():
    nothing = Restock(StockAlerts((), (), (), ()), Event(id="r", type="restocked", user_id=None, time=NOW), "")
    assert ToldRestock(nothing, Books()).broken() == {MAILS, WEBHOOKS, SIGNED, AGAIN}


def test_each_group_is_shown_with_its_mails_and_webhooks(told):
    assert [each[1:] for each in told.restock.groups(told.books)] == [(3, 3, 3), (1, 0, 0), (2, 0, 0), (1, 0, 0)]
    assert told.restock.counts(told.books) == {
        "asked": 7,
        "waited": 3,
        "mails": 3,
        "still_waiting": 3,
        "webhook_calls": {"failed": 1, "repeated": 1, "taken": 2, "unanswered": 1},
    }


def test_everybody_asks_once_and_has_a_mailbox_that_takes_every_mail():
    alerts = stock_alerts(f"customer-{n:05d}" for n in range(2_000))
    groups = (alerts.waiting, alerts.cancelled, alerts.other, alerts.late)
    assert [len(each) for each in groups] == [WAITING, CANCELLED, OTHER, LATE]
    everybody = [user for group in groups for user in group]
    assert len(set(everybody)) == alerts.asked
    assert all(map(takes_every_mail, everybody))
