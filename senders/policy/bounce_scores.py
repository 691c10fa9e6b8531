"""Soft bounces: an address that bounces on several days gets no mail for a time.

A day counts once, however often the address bounces on it, so that a burst of mails on a bad day condemns nobody. Days
before a person lifted the address do not count any more.
"""

from datetime import timedelta
from typing import Any, Final

from psycopg import Connection

from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind, ReplyClass

SOFT_BOUNCES: Final = "soft_bounces"
"""The reason of a suppression by score."""
DAYS: Final = 5
"""On so many days of WINDOW an address bounces before it is suppressed."""
WINDOW: Final = timedelta(days=30)
SUPPRESSED_FOR: Final = timedelta(days=30)

SCORED: Final = frozenset(
    {
        ReplyClass.INACTIVE_MAILBOX,
        ReplyClass.QUOTA_ISSUES,
        ReplyClass.MESSAGE_EXPIRED,
        ReplyClass.NO_ANSWER_FROM_HOST,
        ReplyClass.BAD_CONNECTION,
        ReplyClass.DNS_FAILURE,
        ReplyClass.ROUTING_ERRORS,
        ReplyClass.RELAYING_ISSUES,
        ReplyClass.TRANSIENT_FAILURE,
        ReplyClass.UNCATEGORIZED,
    }
)
"""The soft classes that may be about the address. A block, a policy or a filter is about us or the mail."""


def scores(outcome: Outcome) -> bool:
    """Whether the outcome is a soft bounce or refusal that counts."""
    about_receiver = outcome.kind in (OutcomeKind.BOUNCED, OutcomeKind.REFUSED)
    return about_receiver and not outcome.is_hard and outcome.classification in SCORED


def add(connection: Connection[Any], address_hash: bytes, outcome: Outcome) -> None:
    """Count the day of the outcome, and suppress the address if there are enough. Changes nothing a second time."""
    parameters = {
        "hash": address_hash,
        "time": outcome.time,
        "command": outcome.command_id,
        "window": WINDOW,
        "days": DAYS,
        "reason": SOFT_BOUNCES,
        "for": SUPPRESSED_FOR,
    }
    connection.execute(
        "DELETE FROM soft_bounces WHERE address_hash = %(hash)s AND day < (%(time)s - %(window)s)::date", parameters
    )
    connection.execute(
        "INSERT INTO soft_bounces (address_hash, day) VALUES (%(hash)s, %(time)s::date) ON CONFLICT DO NOTHING",
        parameters,
    )
    connection.execute(
        """INSERT INTO suppressions (address_hash, scope, reason, since, command_id, source, expires_at)
           SELECT %(hash)s, '*', %(reason)s, %(time)s, %(command)s, 'score', %(time)s + %(for)s
           FROM (SELECT coalesce(max(at), '-infinity') AS at FROM suppression_audit
                 WHERE action = 'lift' AND address_hash = %(hash)s AND scope = '*') AS lifted
           WHERE lifted.at < %(time)s
             AND %(days)s <= (SELECT count(*) FROM soft_bounces
                              WHERE address_hash = %(hash)s AND day <= %(time)s::date AND day > lifted.at)
           ON CONFLICT DO NOTHING""",
        parameters,
    )
