"""The verdict of a chaos run of delivery. It knows the promises of docs/delivery.md and nothing of how they are kept.

A mail may be at the receiver once for its accepted attempt, and once for each attempt that is said to be in doubt. Of a
webhook each request has its answer in the ledger, or an attempt in doubt of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from chaos_senders.books import DeliveryBooks, LedgerRow
from chaos_senders.endpoints import ReceivedCall
from slow_model.compare import Comparison

from cli.rules.command_life import lines
from cli.rules.delivery_answers import Delivery
from schemas.vocabulary import LedgerState, OutcomeKind
from senders.queue.outbox_relay import BATCH

BEGUN = ("accepted", "deferred", "refused", "failed", "in_doubt")
"""Outcomes of an attempt. The others end a command between two."""
KINDS = frozenset(OutcomeKind)


def audit(books: DeliveryBooks, losses: int) -> Comparison:
    """Everything that is not as it must be. `losses`: how many workers or servers were lost or moved."""
    found = Comparison()
    outcomes = _outcomes(found, books, losses)
    _commands(found, books)
    for row in books.ledger:
        found.compared[f"{row.state} {row.reason or ''}".strip()] += 1
        if LedgerState(row.state).waiting:
            found.note(f"commands stuck in {row.state}", row)
            continue
        known = outcomes.get(row.command_id, [])
        doubts = len({each["attempt"] for each in known if each["kind"] == "in_doubt"})
        if row.command_id in books.webhooks:
            _calls(found, row, books.calls.get(row.command_id, ()), known, doubts)
        else:
            _mails(found, row, books.mails[row.command_id], doubts)
        _attempts(found, row, known)
        _explanation(found, row, books.explained[row.command_id])
    for life in books.lives:
        if not list(lines(life)):
            found.note("commands unexplained", life.about)
    return found


def _commands(found: Comparison, books: DeliveryBooks) -> None:
    """Each command that was published is in the ledger once, and no other is."""
    known = Counter(row.command_id for row in books.ledger)
    _differences(found, "commands", set(books.commands), known)
    for id_ in known.keys() - books.commands.keys():
        found.note("commands unexpected", id_)
    for id_ in books.mails.keys() - (known.keys() - books.webhooks):
        found.note("mails unexpected", id_)
    for id_ in books.calls.keys() - (known.keys() & books.webhooks):
        found.note("webhooks unexpected", id_)
    found.compared.update({"commands": len(books.commands), "mails": books.mails.total()})
    found.compared["webhooks"] += sum(map(len, books.calls.values()))
    found.compared["commands published twice"] += sum(n > 1 for n in books.commands.values())


def _differences(found: Comparison, what: str, wanted: Iterable[str], got: Mapping[str, int]) -> None:
    for id_ in wanted:
        if not got.get(id_):
            found.note(f"{what} lost", id_)
        elif got[id_] > 1:
            found.note(f"{what} twice", id_)


def _outcomes(found: Comparison, books: DeliveryBooks, losses: int) -> dict[str, list[dict[str, Any]]]:
    """Each outcome that the ledger has is on the topic, and was recorded; repeated ones are equal byte for byte.

    The outcomes by command.
    """
    texts: defaultdict[str, set[bytes]] = defaultdict(set)
    by_command: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for value in books.outcomes:
        outcome = orjson.loads(value)
        if outcome["id"] not in texts:
            by_command[outcome["command_id"]].append(outcome)
        texts[outcome["id"]].add(value)
    _differences(found, "outcomes", books.recorded, dict.fromkeys(texts, 1))
    for id_, times in books.recorded.items():
        if times > 1:
            found.note("outcomes in the ledger twice", id_)
    for id_ in texts.keys() - books.recorded.keys():
        found.note("outcomes unexpected", id_)
    for values in texts.values():
        if len(values) > 1:
            found.note("outcomes different", sorted(values))
    for id_ in texts.keys() - books.deliveries:
        found.note("outcomes not recorded", id_)
    repeated = len(books.outcomes) - len(texts)
    if repeated > BATCH * losses:
        found.note("outcomes repeated too often", repeated)
    if books.outbox:
        found.note("outcomes left in the outbox", books.outbox)
    found.compared.update({"outcomes": len(texts), "outcomes repeated": repeated})
    return by_command


def _mails(found: Comparison, row: LedgerRow, mails: int, doubts: int) -> None:
    accepted = row.state == LedgerState.ACCEPTED
    if accepted and not mails:
        found.note("mails lost", row)
    elif mails > accepted + doubts:
        found.note("mails doubled" if mails > 1 else "mails that no outcome tells of", (row, mails, doubts))
    found.compared["mails doubled, and in doubt"] += mails > 1 and mails <= accepted + doubts


def _calls(
    found: Comparison, row: LedgerRow, calls: Sequence[ReceivedCall], outcomes: list[dict[str, Any]], doubts: int
) -> None:
    """All requests of a webhook are the same and signed. An answer that the ledger has was given, and a request whose
    answer it does not have is an attempt in doubt."""
    if len({call.body for call in calls}) > 1:
        found.note("webhooks different", (row, calls))
    if not all(call.signed for call in calls):
        found.note("webhooks without our signature", row)
    given = Counter(call.answer for call in calls)
    taken, turned_away = given["taken"], given["error"] + given["asked to wait"]
    accepted = row.state == LedgerState.ACCEPTED
    refusals = len({o["attempt"] for o in outcomes if o["kind"] in ("deferred", "refused") and o.get("reply")})
    if accepted > taken or refusals > turned_away:
        found.note("webhooks lost", (row, calls))
    untold = len(calls) - min(taken, accepted) - min(turned_away, refusals)
    if untold > doubts:
        found.note("webhooks that no outcome tells of", (row, calls, doubts))
    found.compared.update(f"webhooks {call.answer}" for call in calls)
    found.compared["webhooks repeated, and in doubt"] += 0 < untold <= doubts


def _attempts(found: Comparison, row: LedgerRow, outcomes: list[dict[str, Any]]) -> None:
    """Each attempt that was begun has an outcome, and the last outcome is the command's state."""
    answered = {each["attempt"] for each in outcomes if each["kind"] in BEGUN}
    if missing := set(range(1, row.attempt + 1)) - answered:
        found.note("attempts without an outcome", (row, missing))
    if row.state in KINDS and row.state not in {each["kind"] for each in outcomes}:
        found.note("commands without their last outcome", row)


def _explanation(found: Comparison, row: LedgerRow, known: Delivery) -> None:
    """`explain` says where the command stands and why, and has its last outcome."""
    said = known.reply if row.state in ("accepted", "refused") else known.reason or row.state == "expired"
    if known.state != row.state or not said or not any(each["kind"] == row.state for each in known.events):
        found.note("commands unexplained", (row, known))
