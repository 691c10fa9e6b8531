"""`ebbtide explain command`: the life of one command in delivery, each attempt, and what a waiting one waits for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.operations.lane_tables import binding_words
from cli.rules.delivery_answers import Delivery, dated_lines, read_deliveries, reply_words, why_words
from infra.postgres.migrate import CONNECT_S
from schemas.errors import UserError
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.bounces.classifier import load_classifier
from senders.bounces.recorded_replies import STAGES
from senders.bounces.refusal import Refusal
from senders.content.message import command_id_of
from senders.queue.lines import line_id
from triggers.engine.gates.stored import time_words

_ABOUT = """
SELECT l.command_id, l.user_id, l.trigger, l.purpose, l.partition, l.admitted_at, l.started_at, l.owner,
       p.owner AS partition_owner, nullif(w.lease_until, '-infinity') AS owner_lease_until
FROM ledger AS l LEFT JOIN ledger_partitions AS p ON p.partition = l.partition
    LEFT JOIN ledger_workers AS w ON w.owner = l.owner
WHERE l.key = ledger_key(%(id)s)
"""
_LINE = """SELECT behind FROM ledger_queue
WHERE command_id = ledger_key(%(id)s) AND behind IS NOT NULL AND reason = 'limited'"""
_SETTLEMENTS = "SELECT at, by, why, decided FROM settlements WHERE command_id = %(id)s ORDER BY id"


_ATTEMPTS = """
SELECT o.attempt, o.state, o.started_at, o.state_at, o.reason, o.hard, o.classifier_hash, way.path::json AS path,
       o.reply::json AS reply
FROM ledger_outcomes AS o LEFT JOIN ledger_paths AS way ON way.number = o.path
WHERE o.command_id = ledger_key(%(id)s) AND o.attempt > 0 AND o.started_at IS NOT NULL ORDER BY o.recorded_at
"""


class CommandUnknown(UserError):
    """There is no such command, or the database has no ledger."""


@dataclass(frozen=True, slots=True)
class CommandLife:
    """What the ledger and the recorded outcomes know of a command."""

    about: Mapping[str, Any]
    delivery: Delivery
    attempts: list[dict[str, Any]]
    """The mail transactions, each with its way."""
    settlements: list[dict[str, Any]]
    binding: Mapping[str, Any] | None = None
    """What binds it, or the line that it stands in, as a worker knows it."""

    def waits(self, now: datetime) -> str | None:
        """What a command that has not ended waits for, and until when; None if it has ended."""
        state, until = self.delivery.state, self.delivery.next_attempt_at
        if state is LedgerState.STARTED:
            lease = time_words(self.about["owner_lease_until"]) if self.about["owner_lease_until"] else "no time"
            return f"for the receiver's answer to {self.about['owner']}, whose lease runs until {lease}"
        if until is None:
            by_hand = "for a person: `ebbtide senders settle ID --as accepted|failed|resend`"
            return by_hand if state is LedgerState.IN_DOUBT else None
        if self.binding is not None:
            return f"on its lane: {binding_words(self.binding)}"
        if until > now:
            why = "; ".join(filter(None, [why_words(self.delivery.reason), self.delivery.detail]))
            if self.delivery.reason == DeliveryReason.LIMITED:
                return f"for its turn, until {time_words(until)} at the latest: {why}"
            return f"until {time_words(until)}: {why or 'its next attempt'}"
        owner = self.about["partition_owner"]
        holder = f"worker {owner}" if owner else "no worker, which must take the partition over first"
        return f"for its turn in partition {self.about['partition']}, held by {holder}"


def read(
    ledger_url: str,
    database_url: str,
    given: str,
    rules: Path | None = None,
    find: Callable[[str], Mapping[str, Any] | None] = lambda _: None,
) -> CommandLife:
    """The life of a command, from the databases of the ledger and of the hypertables; raises CommandUnknown.

    `rules` are the operator's rules for bounces; `find` asks running workers what a command in their memory, or a line,
    waits for.
    """
    import psycopg
    from psycopg.rows import dict_row

    command = command_id_of(given)
    try:
        with (
            psycopg.connect(ledger_url, row_factory=dict_row, connect_timeout=CONNECT_S) as ledger,
            psycopg.connect(database_url, row_factory=dict_row, connect_timeout=CONNECT_S) as timescale,
        ):
            about = ledger.execute(_ABOUT, {"id": command}).fetchone()
            delivery = read_deliveries(ledger, timescale, [command])[command]
            attempts = ledger.execute(_ATTEMPTS, {"id": command}).fetchall()
            settled = ledger.execute(_SETTLEMENTS, {"id": command}).fetchall()
            line = ledger.execute(_LINE, {"id": command}).fetchone()
    except psycopg.errors.UndefinedTable:
        raise CommandUnknown("the database has no ledger yet; `ebbtide migrate` creates it") from None
    if about is None:
        raise CommandUnknown(
            f"no command {command}: delivery has not read it yet, or it ended more than 35 days ago; "
            "`ebbtide explain --user USER` lists the commands of a user"
        )
    due = delivery.state in (LedgerState.ADMITTED, LedgerState.DEFERRED)
    binding = find(command) if due and delivery.next_attempt_at is not None else None
    if binding is None and line is not None:
        binding = find(line_id(line["behind"]))
    return CommandLife(about, delivery, _with_rules(attempts, rules), settled, binding)


def _with_rules(attempts: list[dict[str, Any]], rules: Path | None) -> list[dict[str, Any]]:
    """The attempts, each with the rule that found the class of its reply.

    The ledger keeps only the hash of the rules: with others than those, the rule is not known any more.
    """
    classifier = load_classifier(rules)
    for each in attempts:
        reply, answered = each["reply"], (each["path"] or {}).get("answered")
        each["rule"] = None
        if reply and answered in STAGES and each["classifier_hash"] == classifier.hash:
            refusal = Refusal(reply["text"], reply["code"], reply["enhanced"], STAGES[answered])
            each["rule"] = classifier.classify(refusal).rule or None
    return attempts


def lines(life: CommandLife, now: datetime | None = None) -> Iterator[str]:
    """The life in words, a line each."""
    about = life.about
    yield f"command {about['command_id']}: {life.delivery.headline}"
    yield f"  {about['trigger']} for {about['user_id']}, purpose {about['purpose']}, partition {about['partition']}"
    yield f"  {time_words(about['admitted_at'])} admitted"
    for _, line in sorted(_dated(life), key=lambda each: each[0] or about["admitted_at"]):
        yield f"  {line}"
    if waits := life.waits(now or datetime.now(UTC)):
        yield f"  waits {waits}"


def _dated(life: CommandLife) -> Iterator[tuple[datetime | None, str]]:
    """What happened, a line each with its time; of what happened at one time, what caused it comes first."""
    about = life.about
    if about["started_at"] and life.delivery.attempt:
        worker = f" by {about['owner']}" if about["owner"] else ""
        yield about["started_at"], f"{time_words(about['started_at'])} attempt {life.delivery.attempt} began{worker}"
    for each in life.attempts:
        yield each["started_at"], f"{time_words(each['started_at'])} attempt {each['attempt']} {_way(each['path'])}"
        yield each["state_at"], f"  {time_words(each['state_at'])} {each['state']}: {_answer(each)}"
    for each in life.settlements:
        yield each["at"], f"{time_words(each['at'])} settled as {each['decided']} by {each['by']}: {each['why']}"
    yield from dated_lines(life.delivery)


def _way(path: Mapping[str, Any] | None) -> str:
    """The way of a mail, or the endpoint of a webhook. That of a lost worker's is not recorded, nor are those from
    before the ledger kept ways."""
    if path is None:
        return "by a way that is not recorded"
    if "endpoint" in path:
        return f"to the endpoint {path['endpoint']} at {path['host']}"
    ours = f" ({path['from']})" if "from" in path else ""
    host = f"to {path.get('host', 'no host')}" + (f" ({path['address']})" if "address" in path else "")
    more = [f"{name} {path[name]}" for name in ("site", "provider") if name in path]
    return ", ".join([f"from {path['source']}{ours} {host}", *more, path.get("tls", "no TLS")])


def _answer(attempt: Mapping[str, Any]) -> str:
    """The reply of an attempt, what it answered, and its class with the rule."""
    path, reply = attempt["path"] or {}, attempt["reply"]
    said = reply_words(reply["code"], reply["enhanced"], reply["text"]) if reply else "no reply"
    answered = f"to {path['answered']}" if "answered" in path else ""
    judged = f"{'hard ' if attempt['hard'] else ''}{attempt['reason']}" if attempt["reason"] else ""
    by = f" by the rule {attempt['rule']}" if attempt["rule"] else ""
    if judged and not by and attempt["classifier_hash"]:
        by = f" by rules {attempt['classifier_hash']}"
    return ", ".join(filter(None, [said, answered, judged + by]))


def as_json(life: CommandLife, now: datetime | None = None) -> dict[str, Any]:
    """The life as JSON values."""
    return {
        **life.about,
        "delivery": asdict(life.delivery),
        "attempts": life.attempts,
        "settlements": life.settlements,
        "binding": life.binding,
        "waits": life.waits(now or datetime.now(UTC)),
    }
