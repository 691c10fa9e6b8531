"""The rows of a person go table by table: an erasure that ends between two is taken up by another."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from cli.privacy.people import PersonStores, find_person
from cli.privacy.table_erasure import TableErasure
from senders.policy.recipients import AddressHasher

pytestmark = pytest.mark.servers

HASHER = AddressHasher(b"a secret of the tests")


@contextmanager
def held(url: str, table: str) -> Iterator[None]:
    """Somebody else holds the table."""
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {table}".encode())
        yield


def test_what_was_erased_before_a_run_ended_stays_erased_and_the_rest_is_found_by_another(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True, options="-c lock_timeout=100ms") as connection:
        stores = PersonStores(connection, connection)
        connection.execute("INSERT INTO recipients (user_id, address, known_at) VALUES ('ann', 'ann@a.example', now())")
        connection.execute("INSERT INTO links VALUES ('12345678', 'https://shop.example/?mail=ann%40a.example')")

        def erase() -> None:
            TableErasure(stores, find_person(stores, HASHER, "ann")).run()

        def rows(table: str) -> int:
            [[count]] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
            return int(count)

        with held(database_url, "links"), pytest.raises(LockNotAvailable):
            erase()
        assert (rows("links"), rows("recipients")) == (1, 1), "another run finds the link by the address"
        with held(database_url, "pending_suppressions"), pytest.raises(LockNotAvailable):
            erase()
        assert (rows("links"), rows("recipients")) == (0, 0), "no row waits for the other tables"
        erase()
