"""What became of commands: delivery's row in the ledger, and what the receiver and the reader did, in words."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas.vocabulary import DeliveryReason, LedgerState, OutcomeKind, SuppressionReason
from triggers.engine.gates.stored import time_words

if TYPE_CHECKING:
    from psycopg import Connection

_LEDGER = """
SELECT command_id, state, reason, detail, attempt, state_at, next_attempt_at, reply FROM ledger
WHERE key IN (SELECT ledger_key(id) FROM unnest(%(ids)s::text[]) AS id)
"""
_EVENTS = """
SELECT command_id, kind, time, code, enhanced, reply, NULL AS url, NULL::boolean AS machine, NULL AS evidence
FROM deliveries
WHERE command_id = ANY(%(ids)s)
UNION ALL
SELECT command_id, kind, time, code, enhanced, reply, url, machine, evidence FROM engagement
WHERE command_id = ANY(%(ids)s)
ORDER BY time
"""
_SENDS = """
SELECT command_id, trigger, step, time FROM decisions WHERE user_id = %(user)s AND command_id = ANY(%(ids)s)
"""
_HEADS: Mapping[str, str] = {
    LedgerState.ADMITTED: "to be sent, waiting for delivery",
    LedgerState.STARTED: "being handed over",
    LedgerState.ACCEPTED: "sent",
    LedgerState.DEFERRED: "to be sent, the receiver asked to try later",
    LedgerState.REFUSED: "not delivered, the receiver refused it",
    LedgerState.EXPIRED: "not sent, it expired before delivery",
    LedgerState.SUPPRESSED: "not sent, delivery withheld it",
    LedgerState.FAILED: "not sent, it could not be made or handed over",
    LedgerState.IN_DOUBT: "in doubt, handed over without an answer",
}
_WHY: Mapping[str, str] = {
    SuppressionReason.NO_RECIPIENT: "the user has no address; a profile gives it in the field `address`",
    SuppressionReason.SUPPRESSED: "the address is suppressed: it bounced, complained or unsubscribed",
    SuppressionReason.NO_CONSENT: "the user has not consented to the purpose, or has withdrawn consent",
    SuppressionReason.USER_PAUSED: "the user asked for no mail for a time",
    SuppressionReason.DISCARDED: "a person paused it, and did not want to keep what waits",
    DeliveryReason.PAUSED: "a person paused it",
    DeliveryReason.BUDGET: "its budget is used up; a person releases or discards it (`ebbtide budgets`)",
    DeliveryReason.CONSENT_STALE: "consent is not up to date yet",
    DeliveryReason.VIEW_BEHIND: "not all profiles are read yet",
    DeliveryReason.TEMPLATE_MISSING: "the template is missing",
    DeliveryReason.BRAND_MISSING: "its brand is missing",
    DeliveryReason.SIGNING_KEY_MISSING: "delivery does not have the key with which its brand signs",
    DeliveryReason.ENDPOINT_MISSING: "no such endpoint is published",
    DeliveryReason.SECRET_MISSING: "delivery does not have a secret of the endpoint",
    DeliveryReason.DESTINATION_REFUSED: "the settings do not allow the address of the endpoint",
    DeliveryReason.UNREACHABLE: "the endpoint could not be connected to",
    DeliveryReason.HTTP_STATUS: "the endpoint did not take it",
    DeliveryReason.ENDPOINT_GONE: "the endpoint wants no webhook any more",
    DeliveryReason.RETRIES_USED: "all retries of the endpoint are used",
    DeliveryReason.TEMPLATE_INVALID: "the template cannot be used",
    DeliveryReason.UNDEFINED: "the template uses a variable that it is not given",
    DeliveryReason.RENDER_LIMIT: "the template exceeded a limit of rendering",
    DeliveryReason.RENDER_ERROR: "rendering the template failed",
    DeliveryReason.DELIVERY_ERROR: "delivery itself failed on this mail",
    DeliveryReason.HARD_BOUNCE: "the address does not exist or takes no mail",
    DeliveryReason.HEADER: "a header of the mail would have more than one line",
    DeliveryReason.ADDRESS: "the address is not one that mail can be sent to",
    DeliveryReason.LIMITED: "traffic shaping holds it back",
    DeliveryReason.ADDRESS_CHANGED: "the user's address changed before the mail began; it is made again",
    DeliveryReason.CHANNEL: "the channel is not one that delivery has",
    DeliveryReason.DISCONNECTED: "the connection ended before an answer",
    DeliveryReason.TIMED_OUT: "no answer came in time",
    DeliveryReason.NO_REPLY: "no answer came",
    DeliveryReason.BAD_REPLY: "the server answered with what is no SMTP reply",
    DeliveryReason.TOO_LARGE: "the server takes no mail of this size",
    DeliveryReason.NEEDS_8BITMIME: "the mail has 8-bit bytes, and the server takes none",
    DeliveryReason.NEEDS_SMTPUTF8: "the address is not in ASCII, and the server takes no such address",
    DeliveryReason.WORKER_LOST: "the worker that handed it over ended before the answer was recorded",
    DeliveryReason.SETTLED: "a person decided it",
}
_NO_ROW = "not in the ledger: delivery has not read the command yet, or did so more than 35 days ago"


@dataclass(frozen=True, slots=True)
class DecidedSend:
    """A send that was decided."""

    trigger: str
    step: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is known of one command. `state` is None if the ledger has no row for it."""

    state: LedgerState | None = None
    at: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    attempt: int = 0
    next_attempt_at: datetime | None = None
    reply: Mapping[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    """What delivery, the receiver and the reader reported, oldest first."""

    @property
    def headline(self) -> str:
        """What was done, in a few words, with the reason if there is one."""
        if self.state is None:
            return "to be sent, not yet read by delivery"
        if any(each["kind"] == OutcomeKind.BOUNCED for each in self.events):
            return "sent, and bounced"
        why = why_words(self.reason)
        return f"{_HEADS[self.state]}: {why}" if why and not self.reply else _HEADS[self.state]


def read_deliveries(
    ledger: "Connection[Any]", timescale: "Connection[Any]", ids: Collection[str]
) -> dict[str, Delivery]:
    """What is known of each command; rows are dictionaries."""
    parameters = {"ids": list(ids)}
    events: dict[str, list[dict[str, Any]]] = {command: [] for command in ids}
    for row in timescale.execute(_EVENTS, parameters):
        events[row.pop("command_id")].append(row)
    found = {command: Delivery(events=events[command]) for command in ids}
    for row in ledger.execute(_LEDGER, parameters):
        command, state = row.pop("command_id"), LedgerState(row.pop("state"))
        found[command] = Delivery(state=state, at=row.pop("state_at"), events=events[command], **row)
    return found


def read_sends(connection: "Connection[Any]", user: str, ids: Collection[str]) -> dict[str, DecidedSend]:
    """The decisions that made these commands of one user, by command."""
    rows = connection.execute(_SENDS, {"user": user, "ids": list(ids)})
    return {row["command_id"]: DecidedSend(row["trigger"], row["step"], row["time"]) for row in rows}


def delivery_lines(delivery: Delivery) -> Iterator[str]:
    """The answer of delivery and the later events, one line each."""
    return (line for _, line in dated_lines(delivery))


def dated_lines(delivery: Delivery) -> Iterator[tuple[datetime | None, str]]:
    """The same, each with its time; None if the ledger has no row."""
    if delivery.state is None:
        yield None, _NO_ROW
    else:
        yield delivery.at, _ledger_line(delivery)
    for each in delivery.events:
        if each["kind"] != delivery.state or each["time"] != delivery.at:
            yield each["time"], _event_line(each)


def _ledger_line(delivery: Delivery) -> str:
    assert delivery.state is not None
    parts = [f"{time_words(delivery.at)} {delivery.state.value}"]
    why, reply = why_words(delivery.reason), delivery.reply or {}
    parts += [why] if why else []
    parts += [delivery.detail] if delivery.detail else []
    parts += [reply_words(reply.get("code"), reply.get("enhanced"), reply.get("text"))] if reply else []
    parts += [f"attempt {delivery.attempt}"] if delivery.attempt > 1 else []
    if delivery.next_attempt_at:
        when = time_words(delivery.next_attempt_at)
        parts.append(f"at the latest {when}" if delivery.reason == DeliveryReason.LIMITED else f"next attempt {when}")
    return "; ".join(parts)


def _event_line(event: Mapping[str, Any]) -> str:
    by = {True: ", by software", False: "", None: ""}[event["machine"]]
    by += f" ({event['evidence']})" if event["evidence"] else ""
    reply = reply_words(event["code"], event["enhanced"], event["reply"])
    more = "; ".join(filter(None, [reply, event["url"]]))
    return f"{time_words(event['time'])} {event['kind']}{by}{f': {more}' if more else ''}"


def reply_words(code: int | None, enhanced: str | None, text: str | None) -> str:
    """A reply on one line."""
    return " ".join(str(part) for part in (code, enhanced, text) if part)


def why_words(reason: str | None) -> str:
    """What a reason means; empty without one."""
    return _WHY.get(reason, reason) if reason else ""
