"""How long commands have been due, and what the others wait for, as the ledger has it at this moment."""

import math
import time
from collections.abc import Callable
from typing import Any

import psycopg

from infra.postgres.error_words import outage_words
from infra.postgres.migrate import CONNECT_S
from schemas.errors import UserError
from schemas.vocabulary import DeliveryReason

WITHIN_S = 5
"""How long counting may take: it reads the whole queue."""
AGES = {"1 s": 1, "10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3600}
OLDER = "older"

_COUNTS = """
SELECT CASE WHEN state = 'started' THEN 'started'
            WHEN next_attempt_at <= now() THEN 'due'
            WHEN next_attempt_at IS NOT NULL THEN 'waiting'
            ELSE 'in_doubt' END AS part,
       CASE WHEN state <> 'started' AND next_attempt_at <= now()
            THEN width_bucket(extract(epoch FROM now() - next_attempt_at), %(ages)s::numeric[]) END AS age,
       CASE WHEN next_attempt_at > now() THEN coalesce(reason, state) END AS reason, count(*)
FROM ledger_queue GROUP BY 1, 2, 3
"""


_LIMITED = """
SELECT count(*), min(next_attempt_at) FILTER (WHERE behind IS NULL), max(detail) FROM ledger_queue
WHERE reason = %(limited)s AND next_attempt_at > now()
GROUP BY split_part(detail, ';', 1) ORDER BY 1 DESC LIMIT %(most)s
"""
MOST_LIMITS = 50
SPACING = 10
"""How many times as long as a count takes the next one waits: counting takes a tenth of the database's time at most."""


class QueueNotCounted(UserError):
    """The database has no ledger, does not answer, or does not count in time."""


def queue_ages(url: str, database: str = "TimescaleDB") -> dict[str, Any]:
    """Due commands by age, waiting ones by reason and limit, and the others; raises QueueNotCounted.

    `database` is what a message calls the database.
    """
    names = [*AGES, OLDER]
    found: dict[str, Any] = {"due": dict.fromkeys(names, 0), "waiting": {}, "started": 0, "in_doubt": 0}
    options = f"-c timezone=UTC -c statement_timeout={WITHIN_S}s"
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S, options=options) as connection:
            for part, age, reason, count in connection.execute(_COUNTS, {"ages": list(AGES.values())}):
                if part == "due":
                    found["due"][names[age]] += count
                elif part == "waiting":
                    found["waiting"][reason] = found["waiting"].get(reason, 0) + count
                else:
                    found[part] += count
            limited = connection.execute(_LIMITED, {"limited": DeliveryReason.LIMITED, "most": MOST_LIMITS})
            found["limited"] = [
                {"waiting": count, "next_at": next_at and next_at.isoformat(), "detail": detail}
                for count, next_at, detail in limited
            ]
    except psycopg.errors.UndefinedTable:
        raise QueueNotCounted("the database has no ledger yet; `ebbtide migrate` creates it") from None
    except psycopg.errors.QueryCanceled:
        raise QueueNotCounted(f"the queue could not be counted within {WITHIN_S} s; its partitions show more") from None
    except psycopg.OperationalError as error:
        why = outage_words(error)
        raise QueueNotCounted(f"{database} does not answer ({why}); `make status` shows what runs") from None
    found["waiting"] = dict(sorted(found["waiting"].items(), key=lambda each: -each[1]))
    return found


class SpacedCount:
    """Counts for somebody who looks again and again. Looks between two counts get the last answer, or the last error.

    `age_s` of an answer says how old it is.
    """

    def __init__(
        self,
        count: Callable[[str, str], dict[str, Any]] = queue_ages,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._clock = clock
        self._answer: dict[str, Any] | QueueNotCounted = {}
        self._counted_s = self._again_s = -math.inf

    def __call__(self, url: str, database: str) -> dict[str, Any]:
        """As `queue_ages`."""
        if (began_s := self._clock()) >= self._again_s:
            try:
                self._answer = self._count(url, database)
            except QueueNotCounted as problem:
                self._answer = problem
            self._counted_s = self._clock()
            self._again_s = self._counted_s + SPACING * (self._counted_s - began_s)
        if isinstance(self._answer, QueueNotCounted):
            raise self._answer
        return self._answer | {"age_s": round(self._clock() - self._counted_s, 1)}
