"""Where a person is found: the servers to ask, and the ids and hashes by which rows and records name them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from pydantic import TypeAdapter, ValidationError

from cli.environment import Environment
from infra.postgres.erased_people import erased_among
from infra.postgres.migrate import CONNECT_S, require_migrated
from infra.postgres.personal_tables import PersonKeys
from schemas.errors import UserError
from schemas.people import PersonHasher, is_nobody
from schemas.types import Id
from senders.policy import suppressions
from senders.policy.recipients import AddressHasher
from web import personal_tables

_ID: TypeAdapter[str] = TypeAdapter(Id)
KNOWN: Sequence[LiteralString] = (
    "SELECT user_id FROM profiles",
    "SELECT user_id FROM recipients",
    "SELECT user_id FROM removed_users",
    "SELECT user_id FROM consent_people",
    "SELECT user_id FROM identity_links",
    "SELECT anonymous_id FROM identity_links",
    "SELECT DISTINCT anonymous_id FROM visitor_events",
    "SELECT DISTINCT user_id FROM web_outbox",
    "SELECT DISTINCT anonymous_id FROM web_outbox WHERE anonymous_id IS NOT NULL",
    "SELECT DISTINCT user_id FROM confirmations",
    "SELECT DISTINCT user_id FROM suppressions WHERE user_id IS NOT NULL",
    "SELECT DISTINCT user_id FROM pending_suppressions",
    "SELECT DISTINCT user_id FROM ledger_queue",
    "SELECT DISTINCT user_id FROM ledger_outcomes",
)
"""The ids of people in the database of the ledger."""
RECORDED: Sequence[LiteralString] = (
    "SELECT DISTINCT user_id FROM decisions",
    "SELECT DISTINCT user_id FROM deliveries",
    "SELECT DISTINCT user_id FROM engagement",
    "SELECT DISTINCT user_id FROM mails",
)
"""The same in the database of the hypertables."""
AT_ONCE = 10_000


class NotAUser(UserError):
    """The text is no id that a user can have."""


def user_id_of(text: str) -> str:
    """The id, if a user can have it; raises NotAUser."""
    try:
        return _ID.validate_python(text.encode().decode())
    except (UnicodeEncodeError, ValidationError):
        raise NotAUser("a user id has 1 to 256 characters and no control characters") from None


@dataclass(frozen=True, slots=True)
class PersonStores:
    """A connection to each database: that of the ledger, and that of the hypertables, which may be the same."""

    ledger: Connection[Any]
    timescale: Connection[Any]


@contextmanager
def open_stores(environment: Environment) -> Iterator[PersonStores]:
    """Connections that commit each statement. Raises MigrationError if a table is missing."""
    with (
        require_migrated(),
        _connected(environment.ledger_url) as ledger,
        _connected(environment.database_url) as timescale,
    ):
        yield PersonStores(ledger, timescale)


@contextmanager
def _connected(url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S, options="-c timezone=UTC") as connection:
        yield connection


def find_person(stores: PersonStores, hasher: AddressHasher, user_id: str) -> PersonKeys:
    """By what rows and records name the user now."""
    visitors = personal_tables.visitors_of(stores.ledger, user_id)
    addresses = personal_tables.addresses_of(stores.ledger, user_id) | _delivery_address(stores, user_id)
    known = suppressions.hashes_of_user(stores.ledger, stores.timescale, hasher, user_id)
    hashes = known | {hasher(address) for address in addresses}
    return PersonKeys((user_id, *visitors), tuple(sorted(addresses)), tuple(sorted(hashes)))


def _delivery_address(stores: PersonStores, user_id: str) -> set[str]:
    rows = stores.ledger.execute("SELECT address FROM recipients WHERE user_id = %s", [user_id])
    return {address for (address,) in rows if address}


def erased_and_known(stores: PersonStores, hasher: PersonHasher) -> list[str]:
    """The ids in tables that are of erased people."""
    found: dict[str, None] = {}
    for connection, queries in ((stores.ledger, KNOWN), (stores.timescale, RECORDED)):
        for query in queries:
            for several in _ids(connection, query):
                found |= dict.fromkeys(erased_among(stores.ledger, hasher, several))
    return [*found]


def _ids(connection: Connection[Any], query: LiteralString) -> Iterator[list[str]]:
    """The ids, never more at once than AT_ONCE: a database knows millions."""
    with connection.transaction(), connection.cursor(name="people") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(AT_ONCE):
            yield [user_id for (user_id,) in rows if not is_nobody(user_id)]
