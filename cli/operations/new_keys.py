"""Makes a write key: its id, its secret and its row."""

import secrets
from datetime import datetime
from typing import Any

from psycopg import Connection

from web.keys import key_table
from web.keys.key_table import KeyRow
from web.keys.secret import RANDOM_BYTES, hash_of, secret_of
from web.keys.write_key import KeyClass


def new_id() -> str:
    """An id for a key."""
    return secrets.token_hex(6)


def new_secret(key_class: KeyClass) -> tuple[str, bytes]:
    """A secret and its hash."""
    secret = secret_of(key_class, secrets.token_bytes(RANDOM_BYTES))
    return secret, hash_of(secret)


def add_server_key(connection: Connection[Any], source: str, at: datetime, by: str) -> str:
    """Adds a key of class `server` without a limit. Returns its secret."""
    secret, secret_hash = new_secret(KeyClass.SERVER)
    key_table.add(connection, KeyRow(new_id(), KeyClass.SERVER, source, (), None, at), secret_hash, by)
    return secret
