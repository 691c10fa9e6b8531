"""The mail transactions of the ledger as a simulation takes them, by the time when they began."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from infra.postgres.migrate import CONNECT_S
from schemas.errors import UserError
from senders.shaping.simulation import RecordedAttempt
from senders.shaping.sites import hosts_of

AT_ONCE = 2_000
"""Rows that are in memory at the same time."""

_ATTEMPTS = """
SELECT o.started_at, o.trigger, o.purpose, way.path, o.reply
FROM ledger_outcomes AS o JOIN ledger_paths AS way ON way.number = o.path
WHERE o.recorded_at > now() - %(since)s AND o.started_at > now() - %(since)s AND o.channel = 'email'
ORDER BY o.started_at
"""


class NoAttempts(UserError):
    """The ledger has no attempts of this time whose way is known."""


@dataclass(frozen=True, slots=True)
class AttemptHistory:
    """The attempts of the last `since`. `from_domain` is that of our mails, which the ledger does not repeat."""

    connection: Connection[Any]
    since: timedelta
    from_domain: str

    def __iter__(self) -> Iterator[RecordedAttempt]:
        with self.connection.cursor("attempts", row_factory=dict_row) as cursor:
            cursor.itersize = AT_ONCE
            for row in cursor.execute(_ATTEMPTS, {"since": self.since}):
                yield _attempt(row, self.from_domain)


def open_ledger(url: str) -> Connection[Any]:
    """A connection to the ledger for one read; raises NoAttempts if it has no tables for this yet."""
    connection = psycopg.connect(url, connect_timeout=CONNECT_S, options="-c timezone=UTC")
    if connection.execute("SELECT to_regclass('ledger_outcomes')").fetchone() == (None,):
        connection.close()
        raise NoAttempts("the database has no ledger yet; `ebbtide migrate` creates it")
    return connection


def _attempt(row: dict[str, Any], from_domain: str) -> RecordedAttempt:
    path, reply = orjson.loads(row["path"]), orjson.loads(row["reply"] or "{}")
    return RecordedAttempt(
        at=row["started_at"],
        domain=path["domain"],
        mx=tuple(sorted(_hosts(path))),
        trigger=row["trigger"],
        purpose=row["purpose"],
        from_domain=from_domain,
        source=path["source"],
        state=path.get("answered", "dot"),
        code=reply.get("code", 0),
        enhanced=reply.get("enhanced"),
        text=reply.get("text", ""),
    )


def _hosts(path: dict[str, Any]) -> frozenset[str]:
    """The MX hosts, as far as the way tells them: by the name of the site, or else the host that was talked to."""
    host = path.get("host")
    site = path.get("site", host)
    if site == path["domain"] and host is not None:  # a [domain] table set it apart, so its site has its own name
        site = host
    return hosts_of(site) if site else frozenset()
