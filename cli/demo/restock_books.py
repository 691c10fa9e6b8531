"""The books of the restock: who was to be reached, whom mails and webhooks reached, and what the CRM did. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.demo.books import Books, Check, command_of
from cli.demo.crm import CrmReceipt, CrmVerdict
from cli.demo.crowd import mailbox
from schemas.endpoints import WEBHOOK
from schemas.vocabulary import LedgerState, OutcomeKind

RULE = "back-in-stock"
TAKEN = frozenset({CrmVerdict.TAKEN, CrmVerdict.UNANSWERED})


@dataclass(frozen=True, slots=True)
class StockAlerts:
    """Customers who asked to be told of an album that is sold out."""

    waiting: tuple[str, ...]
    """They wait for the one that comes back."""
    cancelled: tuple[str, ...]
    """They waited for it, and took that back."""
    other: tuple[str, ...]
    """They wait for another one."""
    late: tuple[str, ...]
    """They ask for it when it is back already."""

    @property
    def asked(self) -> int:
        """How many there are."""
        return len(self.waiting) + len(self.cancelled) + len(self.other) + len(self.late)


def mailed(books: Books) -> Counter[str]:
    """How many mails of the rule each customer has in the mailbox."""
    users = {each.id: each.user_id for each in books.commands if each.trigger == RULE and each.channel != WEBHOOK}
    found = Counter[str]()
    for mail in books.mails:
        user = users.get(command_of(mail))
        if user is not None and mail.rcpt_to == mailbox(user):
            found[user] += 1
    return found


def told(receipts: Sequence[CrmReceipt]) -> Counter[str]:
    """How many webhooks about each customer the CRM has taken, repeats left out."""
    return Counter(each.user_id for each in receipts if each.verdict in TAKEN)


def check_restock(
    alerts: StockAlerts, receipts: Sequence[CrmReceipt], books: Books, still_waiting: int
) -> Iterator[Check]:
    """What must hold of the mails, of who was not reached, and of the webhooks."""
    due, mails, rest = Counter(alerts.waiting), mailed(books), len(alerts.other) + len(alerts.late)
    yield Check(
        "a restock mails everybody who waits for it once, and nobody else",
        bool(due) and mails == due,
        f"{len(alerts.waiting):,} of {alerts.asked:,} waited for it; {mails.total():,} mails to {len(mails):,}",
    )
    yield Check(
        "who wants another album, or asks too late, still waits",
        still_waiting == rest,
        f"{still_waiting:,} wait, of {len(alerts.other):,} + {len(alerts.late):,}",
    )
    yield from _check_webhooks(due, receipts, books)


def _check_webhooks(due: Counter[str], receipts: Sequence[CrmReceipt], books: Books) -> Iterator[Check]:
    calls, ids = Counter(each.verdict for each in receipts), _ids(receipts)
    webhooks = [each.id for each in books.commands if each.channel == WEBHOOK]
    accepted = {each for each in webhooks if books.ledger.get(each) == LedgerState.ACCEPTED}
    taken = [each.id for each in receipts if each.verdict in TAKEN]
    yield Check(
        "the CRM takes one webhook for each customer mailed, and no other",
        bool(due) and told(receipts) == due and sorted(taken) == sorted(webhooks) and accepted == {*webhooks},
        f"{len(taken):,} taken, {len(accepted):,} of {len(webhooks):,} accepted",
    )
    unverified = calls[CrmVerdict.UNVERIFIED]
    yield Check(
        "every webhook's signature verifies",
        bool(receipts) and not unverified,
        f"{len(receipts) - unverified:,} of {len(receipts):,} calls",
    )
    failed, unanswered, repeated = ids[CrmVerdict.FAILED], ids[CrmVerdict.UNANSWERED], ids[CrmVerdict.REPEATED]
    yield Check(
        "a call that failed, or got no answer, is made again with its id",
        bool(failed) and set(failed) <= {*taken} and bool(unanswered) and unanswered == repeated,
        f"{len(failed):,} failed, {len(unanswered):,} unanswered; {len(repeated):,} dropped as a repeat",
    )
    outcomes = Counter(each.kind for each in books.outcomes if each.channel == WEBHOOK)
    answers = Counter[OutcomeKind]()
    for verdict, count in calls.items():
        answers[OUTCOMES[verdict]] += count
    yield Check(
        "the outcomes of webhooks = what the CRM answered",
        outcomes == answers,
        ", ".join(f"{kind} {count:,}" for kind, count in sorted(outcomes.items())),
    )


OUTCOMES = {
    CrmVerdict.TAKEN: OutcomeKind.ACCEPTED,
    CrmVerdict.REPEATED: OutcomeKind.ACCEPTED,
    CrmVerdict.UNANSWERED: OutcomeKind.IN_DOUBT,
    CrmVerdict.FAILED: OutcomeKind.DEFERRED,
    CrmVerdict.UNVERIFIED: OutcomeKind.DEFERRED,
}
"""What delivery must say of a call that the CRM judged so."""


def _ids(receipts: Sequence[CrmReceipt]) -> dict[CrmVerdict, list[str]]:
    return {verdict: sorted(each.id for each in receipts if each.verdict is verdict) for verdict in CrmVerdict}
