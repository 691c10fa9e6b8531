"""The ways that mails took: few ways carry many mails, so an outcome has the number of its way in `ledger_paths`."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

MAX_KNOWN = 20_000
FRESH_S = 6 * 3600.0
"""How long a way is known without being stored again: less than a day, so that no way in use looks old."""


@dataclass(slots=True, eq=False)
class AttemptPath:
    """A way as JSON, and its number once it is stored."""

    text: str
    number: int | None = None


class PathBook:
    """The ways of this process. Used in the event loop's thread; times in seconds are of the loop's clock."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], AttemptPath] = {}
        self._fresh_until_s = 0.0

    def path(self, now_s: float, **parts: str | None) -> AttemptPath:
        """The way with these parts, of which those without a value are left out."""
        if now_s >= self._fresh_until_s or len(self._known) >= MAX_KNOWN:
            self._known = {}
            self._fresh_until_s = now_s + FRESH_S
        key = tuple(parts.values())
        found = self._known.get(key)
        if found is None:
            text = json.dumps({name: value for name, value in parts.items() if value}, separators=(",", ":"))
            found = self._known[key] = AttemptPath(text)
        return found


async def store(connection: AsyncConnection[Any], paths: Collection[AttemptPath]) -> Mapping[str, int]:
    """Store ways that are new, and note the day. Returns the number of each by its text."""
    texts = sorted({path.text for path in paths})
    await connection.execute(
        """INSERT INTO ledger_paths AS known (path) SELECT unnest(%s::text[])
           ON CONFLICT (path) DO UPDATE SET used_on = excluded.used_on WHERE known.used_on < excluded.used_on""",
        [texts],
    )
    cursor = await connection.execute("SELECT path, number FROM ledger_paths WHERE path = ANY(%s)", [texts])
    return {path: number async for path, number in cursor}
