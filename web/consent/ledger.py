"""Writes records into the ledger, in the transaction that also keeps the offsets, and signs the hourly heads."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

from psycopg import Connection

from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRecord, UnreadableProfile
from schemas.profiles import Profile
from web.consent import tables
from web.consent.changes import FROM_OUTCOMES, FROM_PROFILES, PersonConsent, after_outcome, after_profile
from web.consent.entries import ConsentChange, sealed_row
from web.consent.sealing import KEY_BYTES, SALT_BYTES
from web.consent.signed_heads import HeadKeys, SignedHead, TreeHead
from web.profiles import profile_state
from web.profiles import tables as profile_tables
from web.profiles.once_reader import Place
from web.profiles.profile_state import ConsentStamp

HEAD_EVERY = timedelta(hours=1)

Randomness = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """A record that may change consent, and where it stands."""

    record: ProfileRecord | Outcome
    place: Place

    @property
    def users(self) -> Sequence[str]:
        """Whose consent it may change."""
        return self.record.users if isinstance(self.record, UnreadableProfile) else (self.record.user_id,)

    @property
    def seen(self) -> str:
        """The record, as people name it."""
        topic = FROM_OUTCOMES if isinstance(self.record, Outcome) else FROM_PROFILES
        return f"{topic}[{self.place.partition}]@{self.place.offset}"

    @property
    def says_consent(self) -> bool:
        """Whether it makes an entry of a person of whom nothing is known yet."""
        match self.record:
            case Profile() as profile:
                return bool(profile.consent)
            case UnreadableProfile() as unreadable:
                return bool(unreadable.refused)
            case Outcome():
                return True
            case _:
                return False


class _Found(NamedTuple):
    """A change, the key of its person, and the place of its record."""

    change: ConsentChange
    key: bytes
    place: Place


def write(connection: Connection[Any], records: Sequence[ConsentRecord], random: Randomness = os.urandom) -> None:
    """Add the entries of records that were not written before, in their order."""
    users = {user for each in records for user in each.users}
    new = {user for each in records if each.says_consent for user in each.users}
    people = tables.hold_people(connection, users, {user: random(KEY_BYTES) for user in sorted(new)})
    purposes = _purposes(connection, records)
    states = {user: person.consent for user, person in people.items()}
    found: list[_Found] = []
    for each in records:
        for user in each.users:
            if user in states:
                states[user], changes = _after(states[user], user, each, purposes)
                found += [_Found(replace(one, seen=each.seen), people[user].key, each.place) for one in changes]
    changed = {user: state for user, state in states.items() if state is not people[user].consent}
    if changed:
        tables.change_people(connection, changed)
    if found:
        _append(connection, _with_sources(connection, found), random)


def _after(
    known: PersonConsent, user: str, each: ConsentRecord, purposes: Mapping[str, str]
) -> tuple[PersonConsent, list[ConsentChange]]:
    at_us = each.place.appended_us
    if isinstance(each.record, Outcome):
        purpose = each.record.purpose or purposes.get(each.record.command_id)
        return after_outcome(known, each.record, purpose, at_us)
    return after_profile(known, user, each.record, at_us)


def _purposes(connection: Connection[Any], records: Iterable[ConsentRecord]) -> dict[str, str]:
    """The purposes of the commands of outcomes that do not say it, from delivery's ledger."""
    outcomes = [each.record for each in records if isinstance(each.record, Outcome)]
    commands = [outcome.command_id for outcome in outcomes if outcome.purpose is None]
    if not commands:
        return {}
    rows = connection.execute(
        "SELECT command_id, purpose FROM ledger WHERE key IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id)",
        [commands],
    )
    return dict(rows.fetchall())


def _with_sources(connection: Connection[Any], found: Sequence[_Found]) -> Sequence[_Found]:
    """The changes with the source of each answer, as far as the store of profiles knows who gave it."""
    users = sorted({each.change.user_id for each in found if each.change.source == FROM_PROFILES})
    if not users:
        return found
    rows = connection.execute(*profile_tables.states_of_users(users)).fetchall()
    known = {user: profile_state.decode(text).consent for user, text in rows}
    return [each._replace(change=_with_source(each.change, known.get(each.change.user_id, {}))) for each in found]


def _with_source(change: ConsentChange, known: Mapping[str, ConsentStamp]) -> ConsentChange:
    stamp = known.get(change.purpose)
    if stamp is None or (stamp.time_us, stamp.method) != (change.time_us, change.method):
        return change
    return replace(change, source=stamp.source)


def _append(connection: Connection[Any], found: Sequence[_Found], random: Randomness) -> None:
    chains = tables.hold_chains(connection, {each.place.partition for each in found})
    numbers = {partition: chain.tree.size for partition, chain in chains.items()}
    rows = []
    for each in found:
        partition, seen_us = each.place.partition, each.place.appended_us
        rows.append(sealed_row(each.change, each.key, random(SALT_BYTES), partition, numbers[partition], seen_us))
        numbers[partition] += 1
    tables.add_rows(connection, rows, chains)


def sign_heads(connection: Connection[Any], keys: HeadKeys, every: timedelta = HEAD_EVERY) -> list[SignedHead]:
    """Sign the chains that grew, unless their last head is not `every` old yet. Returns the new heads."""
    chains, now_us = tables.growing_chains(connection, every)
    signed = [
        keys.sign(TreeHead(partition, chain.tree.size, now_us, chain.tree.root, chain.hash))
        for partition, chain in chains.items()
    ]
    tables.add_heads(connection, signed)
    return signed
