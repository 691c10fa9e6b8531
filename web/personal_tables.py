"""The tables of web that know people, for exports and erasures. All are in the database of the ledger."""

from typing import Any

from psycopg import Connection

from infra.postgres.personal_tables import PersonalTable

PROFILES = PersonalTable("profiles", "profile", "user_id = ANY(%(ids)s)")
LINKS = PersonalTable(
    "identity_links", "links", "user_id = ANY(%(ids)s) OR anonymous_id = ANY(%(ids)s)", order="time_us"
)
"""By these an erasure finds the visits of a person, so they go last."""
TABLES = (
    PROFILES,
    LINKS,
    PersonalTable("visitor_events", "events", "anonymous_id = ANY(%(ids)s)", order="appended_at"),
    PersonalTable("web_outbox", "profile", "user_id = ANY(%(ids)s) OR anonymous_id = ANY(%(ids)s)", order="number"),
    PersonalTable("confirmations", "confirmations", "user_id = ANY(%(ids)s)", order="made_at"),
    PersonalTable("consent_people", "consent", "user_id = ANY(%(ids)s)", shown="false"),  # shown as a proof
)


def visitors_of(connection: Connection[Any], user_id: str) -> list[str]:
    """The anonymous ids that are linked to a user, the newest first."""
    query = "SELECT anonymous_id FROM identity_links WHERE user_id = %s ORDER BY time_us DESC, anonymous_id"
    return [visitor for (visitor,) in connection.execute(query, [user_id])]


def addresses_of(connection: Connection[Any], user_id: str) -> set[str]:
    """The addresses of a user that the profile store and requests for confirmation name."""
    query = """SELECT state -> 'values' -> 'address' ->> 2 FROM profiles WHERE user_id = %(user)s
        UNION SELECT address FROM confirmations WHERE user_id = %(user)s"""
    return {address for (address,) in connection.execute(query, {"user": user_id}) if address}


def imports_from(connection: Connection[Any], sources: set[str]) -> list[dict[str, Any]]:
    """The imports of files under these sources: a value of a profile names its source, and no row of a file."""
    cursor = connection.execute(
        "SELECT file, source, began_at, finished_at FROM profile_imports WHERE source = ANY(%s) ORDER BY began_at",
        [sorted(sources)],
    )
    return [dict(zip(("file", "source", "began_at", "finished_at"), row, strict=True)) for row in cursor]
