"""Asks policy once more in the transaction that writes `started`, by the clock of the database.

Between the take of a command and its mail lie the ready queue, a slow receiver and perhaps an outage. What users and
receivers said meanwhile counts: no mail begins by an address, a consent or a view of before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row
from psycopg.sql import Literal

from infra.postgres.columns import RowArrays, statement
from schemas.vocabulary import DeliveryReason
from senders.content.recipient import Recipient
from senders.policy import pipeline
from senders.policy.ledger_changes import change_of
from senders.policy.pipeline import EVERY_PURPOSE, Delay, DeliveryRequest, PolicyAnswer
from senders.policy.recipients import FEEDS, FOREVER, AddressHasher
from senders.policy.switches import NO_SWITCHES, DeliverySwitches
from senders.queue.transitions import AttemptStart, StateChange

_STARTS = RowArrays[tuple[int, AttemptStart, bytes]](
    number=("int", lambda numbered: numbered[0]),
    user_id=("text", lambda numbered: numbered[1].due.command.user_id),
    user_hash=("bytea", lambda numbered: numbered[2]),
    purpose=("text", lambda numbered: numbered[1].due.command.purpose),
    partition=("int", lambda numbered: numbered[1].due.partition),
    address_hash=("bytea", lambda numbered: numbered[1].address_hash),
)
_FACTS = statement(
    """SELECT new.number, clock_timestamp(), r.address, r.consent -> new.purpose, r.paused_until,
              ARRAY(SELECT scope FROM suppressions AS s
                    WHERE s.address_hash = new.address_hash AND s.scope IN ({every}, new.purpose)
                      AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())),
              (SELECT min(as_of) FROM recipients_progress AS p
               WHERE p.partition = new.partition AND p.topic = ANY(%(feeds)s) HAVING count(*) = %(needed)s),
              CASE WHEN (SELECT true FROM erasures AS e WHERE e.user_hash = new.user_hash)
                   THEN {forever} ELSE (SELECT removed_at FROM removed_users AS gone WHERE gone.user_id = new.user_id)
              END
       FROM {new} LEFT JOIN recipients AS r ON r.user_id = new.user_id AND r.user_id = ANY(%(user_id)s::text[])""",
    new=_STARTS.unnest("new"),
    every=Literal(EVERY_PURPOSE),
    forever=Literal(FOREVER),
)


@dataclass(frozen=True, slots=True)
class _SendFacts:
    """What the recipients view says now about the start with this number."""

    number: int
    now: datetime
    address: str | None
    consent: Any
    paused_until: datetime | None
    suppressed_scopes: list[str]
    view_as_of: datetime | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class SendCheck:
    """The last question before a mail begins."""

    hasher: AddressHasher
    stale_after: timedelta
    switches: DeliverySwitches = NO_SWITCHES

    async def __call__(
        self, connection: AsyncConnection[Any], starts: Sequence[AttemptStart]
    ) -> dict[str, StateChange]:
        """The starts that must not be made, by command, each with what its ledger row says instead."""
        cursor = connection.cursor(row_factory=args_row(_SendFacts))
        feeds = {"feeds": list(FEEDS), "needed": len(FEEDS)}
        hashed = [(number, start, self.hasher.people(start.due.command.user_id)) for number, start in enumerate(starts)]
        await cursor.execute(_FACTS, feeds | _STARTS.parameters(hashed))
        refused = {}
        async for facts in cursor:
            start = starts[facts.number]
            answer = self._answer(start, facts)
            if answer is not None:
                refused[start.due.command.id] = change_of(start.due.status, answer, facts.now)
        return refused

    def _answer(self, start: AttemptStart, facts: _SendFacts) -> PolicyAnswer:
        command = start.due.command
        consent = {command.purpose: facts.consent}
        request = DeliveryRequest(
            command=command,
            now=facts.now,
            admitted_at=start.due.admitted_at,
            recipient=Recipient(command.user_id, facts.address, None, None, {}, consent, facts.paused_until),
            suppressed_scopes=frozenset(facts.suppressed_scopes),
            view_as_of=facts.view_as_of,
            stale_after=self.stale_after,
            switches=self.switches,
            removed_at=facts.removed_at,
        )
        answer = pipeline.apply(request)
        if answer is None and self.hasher(request.address or "") != start.address_hash:
            return Delay(DeliveryReason.ADDRESS_CHANGED, facts.now)
        return answer
