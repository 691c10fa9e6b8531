"""What all tests of the queue use."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """An open connection to a migrated database. Each statement is a transaction of its own."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        yield open_connection
