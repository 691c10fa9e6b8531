"""Imports profiles by the million: batches of rows are copied into a staging table and merged from there.

A user who is new needs no merge: the row is inserted by one statement. How far the import came is written in the same
transaction, so that it goes on there, and so is what is to be published.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from psycopg import Connection

from infra.postgres.erased_people import erased_among, require_key
from schemas.people import NO_KEY, PersonHasher
from web.profiles import tables
from web.profiles.checks import InvalidPatch, bounded, state_of, with_refusals
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import NOTHING, ProfileState, decode, encode

BATCH = 5_000
ERASED = "the person was erased; `ebbtide privacy readmit` lets them be known again"

_STAGING = "CREATE TEMP TABLE import_staging (user_id text, state text) ON COMMIT DELETE ROWS"
_BEGIN = """INSERT INTO profile_imports (id, file, source, time_us) VALUES (%s, %s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET file = EXCLUDED.file
    RETURNING rows, line, changed, refused, time_us, finished_at IS NOT NULL"""
_INSERT = """WITH new AS (
        INSERT INTO profiles (user_id, version, state)
        SELECT user_id, nextval('profile_versions'), state::json FROM import_staging ORDER BY user_id COLLATE "C"
        ON CONFLICT (user_id) DO NOTHING RETURNING user_id
    ), told AS (INSERT INTO web_outbox (user_id, bulk) SELECT user_id, true FROM new)
    DELETE FROM import_staging WHERE user_id IN (SELECT user_id FROM new)"""
_KNOWN = "SELECT user_id FROM import_staging"
_PROGRESS = """UPDATE profile_imports
    SET rows = %(rows)s, line = %(line)s, changed = %(changed)s, refused = %(refused)s,
    finished_at = CASE WHEN %(finished)s THEN now() END WHERE id = %(id)s"""


class ImportProgress(NamedTuple):
    """How far an import came: rows and lines of the file that are done, profiles changed, rows refused."""

    rows: int = 0
    line: int = 0
    changed: int = 0
    refused: int = 0
    time_us: int = 0
    finished: bool = False


class ImportRow(NamedTuple):
    """A row of a file: its line, and the patch that it is, or why it is none."""

    line: int
    patch: ProfilePatch | None
    reason: str = ""


class RefusedRow(NamedTuple):
    """A row that was not imported. The reason holds no value of it."""

    line: int
    reason: str


class ImportBusy(Exception):
    """Another process runs the same import."""


def checked(rows: Sequence[ImportRow], now_us: int) -> tuple[dict[str, ProfileState], list[RefusedRow]]:
    """What the rows say of each user, and the rows that say what no profile can hold. Of those that are only too large
    together, the refusals of consent count."""
    states: dict[str, ProfileState] = {}
    refused = []
    for line, patch, reason in rows:
        if patch is None:
            refused.append(RefusedRow(line, reason))
            continue
        problem: str | None
        try:
            said, known = state_of(patch, now_us), states.get(patch.user_id)
            states[patch.user_id], problem = (said, None) if known is None else _taken(patch.user_id, known, said)
        except InvalidPatch as error:
            problem = str(error)
        if problem is not None:
            refused.append(RefusedRow(line, problem))
    return states, refused


def _taken(user_id: str, known: ProfileState, said: ProfileState) -> tuple[ProfileState, str | None]:
    """Both as one, or what is wrong with that; then only refusals of consent are added."""
    try:
        return bounded(user_id, known, said), None
    except InvalidPatch as error:
        return with_refusals(user_id, known, said), str(error)


class ProfileImport:
    """One import over one connection, which is its own. `hasher` recognises erased people, whose rows are refused."""

    def __init__(self, connection: Connection[Any], import_id: str, hasher: PersonHasher = NO_KEY) -> None:
        self._connection = connection
        self._id = import_id
        self._hasher = hasher
        self.progress = ImportProgress()

    def begin(self, file: str, source: str, time_us: int) -> ImportProgress:
        """How far the import came before; raises ImportBusy and OtherErasureKey."""
        require_key(self._connection, self._hasher)
        number = int(self._id[:15], 16)
        [[alone]] = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [number]).fetchall()
        if not alone:
            raise ImportBusy
        self._connection.execute(_STAGING)
        with self._connection.transaction():
            [row] = self._connection.execute(_BEGIN, [self._id, file, source, time_us]).fetchall()
        self.progress = ImportProgress(*row)
        return self.progress

    def write(
        self, rows: Sequence[ImportRow], now_us: int, note: Callable[[Sequence[RefusedRow]], None]
    ) -> ImportProgress:
        """Write the next rows of the file in one transaction. `note` gets those that are refused before it commits."""
        states, refused = checked(rows, now_us)
        with self._connection.transaction():
            erased = erased_among(self._connection, self._hasher, states)
            changed, unkept = self._merge({user_id: said for user_id, said in states.items() if user_id not in erased})
            unkept += [(user_id, ERASED) for user_id in erased]
            lines = {patch.user_id: line for line, patch, _ in rows if patch is not None}
            refused += [RefusedRow(lines[user_id], reason) for user_id, reason in unkept]
            progress = self.progress._replace(
                rows=self.progress.rows + len(rows),
                line=rows[-1].line,
                changed=self.progress.changed + changed,
                refused=self.progress.refused + len(refused),
            )
            self._note(progress)
            note(refused)
        self.progress = progress
        return progress

    def finish(self) -> None:
        """Note that all rows are done."""
        self.progress = self.progress._replace(finished=True)
        with self._connection.transaction():
            self._note(self.progress)

    def _note(self, progress: ImportProgress) -> None:
        self._connection.execute(_PROGRESS, {"id": self._id, **progress._asdict()})

    def _merge(self, states: dict[str, ProfileState]) -> tuple[int, list[tuple[str, str]]]:
        """Merge states into the store. Returns how many profiles changed, and the users whose would be too large."""
        said = {user_id: state for user_id, state in states.items() if state != NOTHING}
        with closing(self._connection.cursor()) as cursor:
            with cursor.copy("COPY import_staging FROM STDIN") as copy:
                for user_id, state in said.items():
                    copy.write_row((user_id, encode(state)))
            inserted = cursor.execute(_INSERT).rowcount
            users = [user_id for (user_id,) in cursor.execute(_KNOWN).fetchall()]
            if not users:
                return inserted, []
            return self._change(users, said, inserted)

    def _change(
        self, users: Sequence[str], said: dict[str, ProfileState], inserted: int
    ) -> tuple[int, list[tuple[str, str]]]:
        known = dict(self._connection.execute(*tables.hold(users)).fetchall())
        changed, too_large = {}, []
        for user_id, text in known.items():
            state, problem = _taken(user_id, decode(text), said[user_id])
            if problem is not None:
                too_large.append((user_id, problem))
            if (merged := encode(state)) != text:
                changed[user_id] = merged
        if changed:
            self._connection.execute(*tables.change(changed))
            self._connection.execute(*tables.announce(changed, bulk=True))
        return inserted + len(changed), too_large
