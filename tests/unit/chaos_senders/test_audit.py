"""The verdict of `make chaos-senders` names each promise that was not kept."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from chaos_senders.audit import audit
from chaos_senders.books import DeliveryBooks, LedgerRow
from chaos_senders.endpoints import Answer, ReceivedCall

from cli.rules.delivery_answers import Delivery
from schemas.codec import encode
from schemas.outcomes import Outcome, outcome_id
from schemas.vocabulary import LedgerState, OutcomeKind

AT = datetime(2026, 11, 29, tzinfo=UTC)
SENT, DOUBTFUL, CALLED = "a" * 32, "b" * 32, "d" * 32
KNOWN = {
    SENT: (OutcomeKind.ACCEPTED, None),
    DOUBTFUL: (OutcomeKind.IN_DOUBT, "no_reply"),
    CALLED: (OutcomeKind.ACCEPTED, None),
}


def outcome(command: str, kind: OutcomeKind, attempt: int = 1) -> bytes:
    """The outcome as the topic has it."""
    id_ = outcome_id(command, kind, attempt)
    return encode(Outcome(id=id_, command_id=command, user_id="ann", kind=kind, time=AT, attempt=attempt))


def call(answer: Answer, body: str = "body", *, signed: bool = True) -> ReceivedCall:
    return ReceivedCall(CALLED, body, signed, answer)


def books() -> DeliveryBooks:
    """A mail that was accepted, one that is in doubt, which the receiver has too, and a webhook that was taken."""
    ids = [outcome_id(command, kind, 1) for command, (kind, _) in KNOWN.items()]
    return DeliveryBooks(
        commands=Counter([*KNOWN]),
        ledger=[LedgerRow(command, kind, reason, 1) for command, (kind, reason) in KNOWN.items()],
        recorded=Counter(ids),
        outcomes=[outcome(command, kind) for command, (kind, _) in KNOWN.items()],
        outbox=0,
        deliveries=set(ids),
        mails=Counter([SENT, DOUBTFUL]),
        webhooks={CALLED},
        calls={CALLED: [call("taken")]},
        explained={
            command: Delivery(LedgerState(kind), AT, reason, reply={"code": 250}, events=[{"kind": kind}])
            for command, (kind, reason) in KNOWN.items()
        },
    )


def in_state(found: DeliveryBooks, state: str) -> None:
    found.ledger[0] = replace(found.ledger[0], state=state)


def explained_as(found: DeliveryBooks, **changes: object) -> None:
    found.explained[SENT] = replace(found.explained[SENT], **changes)  # type: ignore[arg-type]


FAULTS: dict[str, Callable[[DeliveryBooks], object]] = {
    "commands lost": lambda found: found.commands.update(["c" * 32]),
    "commands unexpected": lambda found: found.commands.pop(SENT),
    "commands twice": lambda found: found.ledger.append(found.ledger[0]),
    "commands stuck in started": lambda found: in_state(found, "started"),
    "mails lost": lambda found: found.mails.pop(SENT),
    "mails doubled": lambda found: found.mails.update([SENT]),
    "mails unexpected": lambda found: found.mails.update(["c" * 32]),
    "webhooks lost": lambda found: found.calls.update({CALLED: [call("error")]}),
    "webhooks different": lambda found: found.calls[CALLED].append(call("taken", "another")),
    "webhooks without our signature": lambda found: found.calls.update({CALLED: [call("taken", signed=False)]}),
    "webhooks unexpected": lambda found: found.calls.update({SENT: []}),
    "webhooks that no outcome tells of": lambda found: found.calls[CALLED].append(call("hung up")),
    "mails that no outcome tells of": lambda found: in_state(found, "refused"),
    "attempts without an outcome": lambda found: found.ledger.insert(0, replace(found.ledger.pop(0), attempt=2)),
    "commands without their last outcome": lambda found: in_state(found, "expired"),
    "outcomes lost": lambda found: found.outcomes.pop(),
    "outcomes unexpected": lambda found: found.outcomes.append(outcome(SENT, OutcomeKind.DEFERRED)),
    "outcomes different": lambda found: found.outcomes.append(found.outcomes[0].replace(b"ann", b"bob")),
    "outcomes not recorded": lambda found: found.deliveries.pop(),
    "outcomes in the ledger twice": lambda found: found.recorded.update(found.recorded),
    "outcomes repeated too often": lambda found: found.outcomes.append(found.outcomes[0]),
    "outcomes left in the outbox": lambda found: setattr(found, "outbox", 1),
    "commands unexplained": lambda found: explained_as(found, events=[]),
}


def test_nothing_is_wrong_with_books_that_agree() -> None:
    assert audit(books(), 0).wrong == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(fault: str) -> None:
    found = books()
    FAULTS[fault](found)
    assert fault in audit(found, 0).wrong


def test_an_attempt_in_doubt_allows_one_mail_or_request_more_and_a_loss_allows_a_repeated_outcome() -> None:
    found = books()
    found.outcomes.append(found.outcomes[0])
    for command in (SENT, CALLED):
        found.outcomes.append(outcome(command, OutcomeKind.IN_DOUBT))
        found.recorded[outcome_id(command, OutcomeKind.IN_DOUBT, 1)] = 1
        found.deliveries.add(outcome_id(command, OutcomeKind.IN_DOUBT, 1))
    found.mails[SENT] = 2
    found.calls[CALLED].append(call("taken"))
    assert audit(found, 1).wrong == {}
