"""A database that a test asks again and again, on one connection: a new one costs the server more than most queries."""

import threading
from collections.abc import Sequence
from typing import Any

import psycopg


class AskedDatabase:
    """Connects when it is first asked, and anew after a restart of the server. Threads may share it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What the database answers; raises psycopg.OperationalError while it is away."""
        with self._lock:
            if self._connection is not None:
                try:
                    return self._ask(self._connection, query, values)
                except psycopg.OperationalError:
                    self._connection.close()
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            return self._ask(self._connection, query, values)

    def close(self) -> None:
        """Lets the connection go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @staticmethod
    def _ask(connection: psycopg.Connection, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return connection.execute(query.encode(), values or None).fetchall()
