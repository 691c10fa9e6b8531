"""The books: what each part of the pipeline says happened, compared with what the others say."""

import base64
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path

import dkim
import orjson
import psycopg

from cli.operations.dead_letters import read_letters
from infra.kafka.topic_reader import read_all
from infra.local.sink_mails import ReceivedMail, read_messages
from schemas.codec import decode
from schemas.commands import SendCommand
from schemas.decisions import Decision
from schemas.endpoints import WEBHOOK
from schemas.outcomes import Outcome
from schemas.topics import COMMANDS, DECISIONS, EVENTS, OUTCOMES
from schemas.vocabulary import ENGAGEMENT, DecisionOutcome, LedgerState, OutcomeKind

_COMMAND = re.compile(rb"^X-Ebbtide-Command: ([0-9a-f]+)\r$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Check:
    """One equation of the books."""

    says: str
    holds: bool
    detail: str


@dataclass(slots=True)
class Books:
    """Everything that a run wrote. Times are seconds since the epoch."""

    decisions: list[Decision] = field(default_factory=list)
    commands: list[SendCommand] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    dead_letters: Counter[str] = field(default_factory=Counter)
    ledger: dict[str, str] = field(default_factory=dict)
    mails: list[ReceivedMail] = field(default_factory=list)
    appended_at: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


def read_books(kafka: str, database_url: str, sink: Path, live_from: datetime) -> Books:
    """Reads every topic, table and mail. Keeps the append times of events published since `live_from`."""
    books = Books()
    books.decisions = [decode(Decision, m.value()) for m in read_all(kafka, DECISIONS.name)]
    books.commands = [decode(SendCommand, m.value()) for m in read_all(kafka, COMMANDS.name)]
    books.outcomes = [decode(Outcome, m.value()) for m in read_all(kafka, OUTCOMES.name)]
    for letter in read_letters(kafka).chosen:
        books.dead_letters[letter.cause] += 1
    for message in read_all(kafka, EVENTS.name, int(live_from.timestamp() * 1000)):
        books.appended_at[_event_id(message.value())] = message.timestamp()[1] / 1000
    books.mails = list(read_messages(sink))
    with psycopg.connect(database_url) as connection:
        books.ledger = dict(connection.execute("SELECT command_id, state FROM ledger").fetchall())
        for table in ("decisions", "deliveries", "engagement"):
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names of ours
            books.rows[table] = row[0] if row else 0
    return books


def _event_id(raw: bytes | None) -> str:
    try:
        found = orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return ""
    return str(found.get("id", "")) if isinstance(found, dict) else ""


def command_of(mail: ReceivedMail) -> str:
    """The command id in a mail's `X-Ebbtide-Command` header; empty without one."""
    head, _, _ = mail.raw.partition(b"\r\n\r\n")
    found = _COMMAND.search(head + b"\r\n")
    return found.group(1).decode() if found else ""


def reconcile(books: Books, dns_record: bytes, selector: str, domain: str, engaged_by_readers: int) -> list[Check]:
    """Every equation that must hold; `engaged_by_readers` is how often readers opened, clicked and unsubscribed."""
    sends = [d for d in books.decisions if d.outcome is DecisionOutcome.SEND]
    ids = [c.id for c in books.commands]
    states = Counter(LedgerState(state) for state in books.ledger.values())
    terminal = sum(n for state, n in states.items() if state.terminal)
    waiting = sum(n for state, n in states.items() if state.waiting)
    in_doubt = states[LedgerState.IN_DOUBT]
    webhooks = {c.id for c in books.commands if c.channel == WEBHOOK}
    accepted = {c for c, state in books.ledger.items() if state == LedgerState.ACCEPTED} - webhooks
    mailed = Counter(command_of(mail) for mail in books.mails)
    answers = {o.id for o in books.outcomes if o.kind not in ENGAGEMENT}
    engaged = {o.id for o in books.outcomes if o.kind in ENGAGEMENT}
    unsigned = sum(not _verifies(mail.raw, dns_record, selector, domain) for mail in books.mails)
    decided = {d.command_id for d in sends}
    return [
        _equal("commands = decisions to send", len(ids), len(sends)),
        Check("each command is the one decided", set(ids) == decided, f"{len(set(ids) ^ decided)} differ"),
        _once("no command id twice", ids),
        _once("no decision id twice", [d.id for d in books.decisions]),
        Check(
            "commands = terminal + waiting + in doubt",
            len(ids) == terminal + waiting + in_doubt and set(ids) == set(books.ledger),
            f"{len(ids):,} = {terminal:,} + {waiting:,} + {in_doubt:,}",
        ),
        Check(
            "one mail for each accepted command, and no other",
            mailed == Counter(accepted),
            f"{len(books.mails):,} mails, {len(accepted):,} accepted, webhooks left out",
        ),
        Check(
            "every mail's DKIM verifies",
            not unsigned,
            f"{len(books.mails) - unsigned:,} of {len(books.mails):,}",
        ),
        _equal("rows in decisions = decisions", books.rows["decisions"], len({d.id for d in books.decisions})),
        _equal("rows in deliveries = delivery outcomes", books.rows["deliveries"], len(answers)),
        Check(
            "rows in engagement = what readers did",
            books.rows["engagement"] == len(engaged) == engaged_by_readers,
            f"{books.rows['engagement']:,} rows, {engaged_by_readers:,} opens, clicks and unsubscribes",
        ),
    ]


def _once(says: str, ids: list[str]) -> Check:
    repeated = len(ids) - len(set(ids))
    return Check(says, not repeated, f"{repeated} repeated")


def _equal(says: str, left: int, right: int) -> Check:
    return Check(says, left == right, f"{left:,} = {right:,}" if left == right else f"{left:,} is not {right:,}")


def _verifies(raw: bytes, dns_record: bytes, selector: str, domain: str) -> bool:
    name = f"{selector}._domainkey.{domain}.".encode()

    def lookup(query: bytes | str, **_: object) -> bytes | None:
        return dns_record if name == (query if isinstance(query, bytes) else query.encode()) else None

    return bool(dkim.verify(raw, dnsfunc=lookup))


@dataclass(frozen=True, slots=True)
class MailLatency:
    """Percentiles in milliseconds over `count` mails."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


def latencies(seconds: Iterable[float]) -> MailLatency:
    """The percentiles, by the nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return MailLatency(0, 0.0, 0.0, 0.0)

    def rank(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)

    return MailLatency(len(ordered), rank(0.50), rank(0.95), rank(0.99))


def event_to_mail(books: Books, trigger: str) -> MailLatency:
    """From the entry event's append time to the sink's receipt of the mail, for first attempts."""
    retried = {o.command_id for o in books.outcomes if o.kind is OutcomeKind.DEFERRED}
    entry = {d.command_id: d.event_ids[0] for d in books.decisions if d.command_id and d.event_ids}
    own = {c.id for c in books.commands if c.trigger == trigger} - retried
    return latencies(
        mail.received_at - books.appended_at[entry[command]]
        for mail in books.mails
        if (command := command_of(mail)) in own and entry.get(command) in books.appended_at
    )


def as_text(raw: bytes) -> str:
    """A mail for people: a few headers and the text part."""
    mail = message_from_bytes(raw, policy=policy.default)
    body = mail.get_body(preferencelist=("plain",))
    head = "\n".join(f"{name}: {mail[name]}" for name in ("From", "To", "Subject", "Date", "Message-ID"))
    signature = " ".join(str(mail["DKIM-Signature"]).split())
    text = body.get_content() if body else base64.b64encode(raw).decode()
    return f"{head}\nDKIM-Signature: {signature[:76]}…\n\n{text.strip()}"
