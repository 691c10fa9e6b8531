"""The tables of delivery and of the recorder that know people, for exports and erasures.

Rows of outcomes and of the hypertables stay for their counts, under no user. A suppression stays under its keyed hash
of an address, because nobody may mail that address again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString

from psycopg import Connection

from infra.postgres.columns import statement
from infra.postgres.personal_tables import PersonalTable, assignments

_USER: LiteralString = "user_id = ANY(%(ids)s)"
_NOBODY: LiteralString = "%(nobody)s"
_COUNTED_INPUTS: LiteralString = """jsonb_strip_nulls(jsonb_build_object(
    'variant', inputs -> 'variant', 'sent_at', inputs -> 'sent_at', 'held_out', inputs -> 'held_out'))"""
"""What rollups read of the inputs of a decision."""
_OWN_ADDRESS: LiteralString = "user_id = ANY(%(ids)s) OR address_hash = ANY(%(hashes)s)"

LEDGER = (
    PersonalTable("recipients", "profile", _USER),
    PersonalTable("removed_users", "profile", _USER),
    PersonalTable(
        "links", "mails", "EXISTS (SELECT FROM unnest(%(addresses)s::text[]) AS a WHERE position(a IN lower(url)) > 0)"
    ),
    PersonalTable(
        "ledger_queue",
        "mails",
        _USER,
        {
            "user_id": _NOBODY,
            "address_hash": "NULL",
            "detail": "NULL",
            "reply": "NULL",
            "command": """convert_to((convert_from(command, 'UTF8')::jsonb - 'to' || jsonb_build_object(
                'user_id', %(nobody)s::text, 'occurrence', '', 'data', '{}'::jsonb))::text, 'UTF8')""",
        },
        order="admitted_at",
    ),
    PersonalTable(
        "ledger_outcomes",
        "mails",
        _USER,
        {"user_id": _NOBODY, "address_hash": "NULL", "detail": "NULL", "reply": "NULL"},
        order="recorded_at",
    ),
    PersonalTable(
        "suppressions",
        "suppressions",
        _USER,
        {"user_id": "NULL", "command_id": "NULL", "trigger": "NULL"},
        shown=_OWN_ADDRESS,
        order="since",
    ),
    PersonalTable("pending_suppressions", "suppressions", _USER, order="since"),
    PersonalTable("soft_bounces", "suppressions", "address_hash = ANY(%(hashes)s)", order="day"),
    PersonalTable(
        "suppression_audit",
        "suppressions",
        "address_hash = ANY(%(hashes)s) AND suppression ? 'command_id'",
        {"suppression": "suppression - 'command_id'"},
        shown="address_hash = ANY(%(hashes)s)",
        order="at",
    ),
)
"""In the database of the ledger."""
_WITHOUT_CONTENT: Mapping[LiteralString, LiteralString] = {
    "occurrence": "''",
    "event_ids": "'{}'",
    "gates": "'[]'",
    "inputs": _COUNTED_INPUTS,
}
"""What is set in a decision so that it only counts."""
HYPERTABLES = (
    PersonalTable(
        "decisions",
        "decisions",
        _USER,
        {"user_id": _NOBODY, **_WITHOUT_CONTENT},
        order="time",
    ),
    PersonalTable("deliveries", "mails", _USER, {"user_id": _NOBODY, "reply": "NULL"}, order="time"),
    PersonalTable(
        "engagement", "engagement", _USER, {"user_id": _NOBODY, "reply": "NULL", "url": "NULL"}, order="time"
    ),
    PersonalTable("mails", "mails", _USER, {"user_id": _NOBODY}, order="sent"),
)
"""In the database of the hypertables."""

_FORGET_CONTENT = statement(
    """UPDATE decisions SET {values} WHERE trigger = %s AND time < %s AND (gates <> '[]' OR event_ids <> '{{}}')""",
    values=assignments(_WITHOUT_CONTENT),
)


def forget_content(timescale: Connection[Any], trigger: str, before: datetime) -> int:
    """Take from the decisions of a trigger before this time what they looked at; returns from how many.

    They still say when it was decided about whom, with which outcome and reason.
    """
    return timescale.execute(_FORGET_CONTENT, [trigger, before]).rowcount
