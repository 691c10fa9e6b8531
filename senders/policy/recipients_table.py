"""Writes profiles into the table `recipients`.

The last record of a user counts. A record that cannot be read takes back every consent of the users that it names, and
leaves the rest as it was: nobody knows what it says about consent. A profile that names no pause leaves the known one:
backends that publish whole profiles do not know what a recipient chose.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from infra.postgres.columns import names, statement
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile
from schemas.profiles import Profile
from senders.queue import removed_users

_COLUMNS = ("user_id", "address", "zone", "locale", "attributes", "consent")
_UPSERT = statement(
    """INSERT INTO recipients ({columns}, paused_until, known_at) VALUES (%s, %s, %s, %s, %s, %s, %s, now())
       ON CONFLICT (user_id) DO UPDATE SET ({columns}, paused_until, known_at) =
           ({excluded}, coalesce(EXCLUDED.paused_until, recipients.paused_until), EXCLUDED.known_at)""",
    columns=names(_COLUMNS),
    excluded=names(_COLUMNS, "excluded"),
)


def write_profiles(connection: Connection[Any], records: Sequence[ProfileRecord]) -> None:
    """Bring the view up to date with records, in their order."""
    last: dict[str, Profile | None] = {}
    unreadable: dict[str, list[UnreadableProfile]] = {}
    for record in records:
        if isinstance(record, UnreadableProfile):
            for user_id in record.users:
                unreadable.setdefault(user_id, []).append(record)
        else:
            before = last.get(record.user_id)
            last[record.user_id] = _with_pause(record, before) if isinstance(record, Profile) else None
            unreadable.pop(record.user_id, None)
    removed = [record for record in records if isinstance(record, ProfileRemoval)]
    _delete(connection, sorted({record.user_id for record in removed}))
    _upsert(connection, [profile for profile in last.values() if profile])
    removed_users.note(connection, {record.user_id: record.at for record in removed if record.at is not None})
    _take_consent_back(connection, [(user_id, record) for user_id, several in unreadable.items() for record in several])


def _with_pause(profile: Profile, before: Profile | None) -> Profile:
    if before is None or profile.paused_until is not None:
        return profile
    return profile.model_copy(update={"paused_until": before.paused_until})


def _upsert(connection: Connection[Any], profiles: Sequence[Profile]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT, [_row(profile) for profile in profiles])


def _row(profile: Profile) -> tuple[Any, ...]:
    consent = {purpose: answer.model_dump(mode="json") for purpose, answer in profile.consent.items()}
    values = {"attributes": Jsonb(profile.attributes), "consent": Jsonb(consent)}
    columns = (values[column] if column in values else getattr(profile, column) for column in _COLUMNS)
    return *columns, profile.paused_until


def _take_consent_back(connection: Connection[Any], unreadable: Sequence[tuple[str, UnreadableProfile]]) -> None:
    """Remove every yes. Each no that was known stays, and those of the record are added."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """UPDATE recipients SET known_at = now(), address = CASE WHEN %s THEN %s ELSE address END, consent = %s ||
                   (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(consent)
                    WHERE value -> 'granted' IS DISTINCT FROM 'true')
               WHERE user_id = %s""",
            [
                (
                    record.says_address and user_id == record.owner,
                    record.address,
                    Jsonb({purpose: {"granted": False, "time": since} for purpose, since in record.refused.items()}),
                    user_id,
                )
                for user_id, record in unreadable
            ],
        )


def _delete(connection: Connection[Any], users: Sequence[str]) -> None:
    if users:
        connection.execute("DELETE FROM recipients WHERE user_id = ANY(%s)", [list(users)])
