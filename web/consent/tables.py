"""The statements on the tables of the ledger. Rows of people are held before those of chains, each in order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from infra.postgres.columns import RowArrays, array_literal, statement
from web.consent.changes import PersonConsent
from web.consent.entries import ConsentRow, chained
from web.consent.merkle import Frontier
from web.consent.signed_heads import SignedHead, TreeHead
from web.profiles.profile_state import microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READ_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the ledger."""

    key: bytes
    consent: PersonConsent


@dataclass(slots=True)
class Chain:
    """The end of a partition's chain, held until the transaction ends."""

    hash: bytes
    tree: Frontier


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row as it is in the table, with the hashes that stand beside it."""

    row: ConsentRow
    leaf: bytes
    hash: bytes


def hold_people(
    connection: Connection[Any], users: Collection[str], new_keys: Mapping[str, bytes]
) -> dict[str, Person]:
    """The people with these ids, held until the transaction ends; those with new keys are added if they are missing."""
    connection.execute(
        b"""INSERT INTO consent_people (user_id, key, state)
            SELECT u, k, %(nothing)s::json FROM unnest(%(users)s::text[], %(keys)s::bytea[]) AS n (u, k)
            ORDER BY u COLLATE "C" ON CONFLICT (user_id) DO NOTHING""",
        {
            "users": array_literal("text", new_keys),
            "keys": array_literal("bytea", new_keys.values()),
            "nothing": PersonConsent().encoded(),
        },
    )
    rows = connection.execute(
        b"""SELECT user_id, key, state::text FROM consent_people WHERE user_id = ANY(%(users)s::text[])
            ORDER BY user_id COLLATE "C" FOR UPDATE""",
        {"users": array_literal("text", users)},
    )
    return {user_id: Person(bytes(key), PersonConsent.decoded(state)) for user_id, key, state in rows}


def change_people(connection: Connection[Any], states: Mapping[str, PersonConsent]) -> None:
    """Keep the states of people who are held."""
    connection.execute(
        b"""UPDATE consent_people AS p SET state = n.state::json
            FROM unnest(%(users)s::text[], %(states)s::text[]) AS n (user_id, state) WHERE p.user_id = n.user_id""",
        {
            "users": array_literal("text", states),
            "states": array_literal("text", [state.encoded() for state in states.values()]),
        },
    )


def person_key(connection: Connection[Any], user_id: str) -> bytes | None:
    """The key of a person; None if the ledger has nothing of them, or they were erased."""
    row = connection.execute("SELECT key FROM consent_people WHERE user_id = %s", [user_id]).fetchone()
    return bytes(row[0]) if row else None


def forget(connection: Connection[Any], users: Collection[str]) -> int:
    """Destroy the keys of these people, and return how many there were. Their entries stay, and tell nothing."""
    return connection.execute("DELETE FROM consent_people WHERE user_id = ANY(%s)", [list(users)]).rowcount


def hold_chains(connection: Connection[Any], partitions: Collection[int]) -> dict[int, Chain]:
    """The ends of these chains, held until the transaction ends."""
    wanted = sorted(partitions)
    connection.execute(
        "INSERT INTO consent_chains (partition) SELECT * FROM unnest(%s::int[]) AS p ORDER BY p ON CONFLICT DO NOTHING",
        [wanted],
    )
    rows = connection.execute(
        """SELECT partition, size, hash, peaks FROM consent_chains WHERE partition = ANY(%s)
           ORDER BY partition FOR UPDATE""",
        [wanted],
    )
    return {partition: Chain(bytes(hash_), Frontier(size, map(bytes, peaks))) for partition, size, hash_, peaks in rows}


_ROWS = RowArrays[KeptRow](
    partition=("int", lambda kept: kept.row.partition),
    number=("bigint", lambda kept: kept.row.number),
    seen_at=("timestamptz", lambda kept: _moment(kept.row.seen_us)),
    person=("bytea", lambda kept: kept.row.person),
    salt=("bytea", lambda kept: kept.row.salt),
    committed=("bytea", lambda kept: kept.row.committed),
    sealed=("bytea", lambda kept: kept.row.sealed),
    leaf=("bytea", lambda kept: kept.leaf),
    hash=("bytea", lambda kept: kept.hash),
)
_ADD = statement("INSERT INTO consent_entries SELECT * FROM {rows}", rows=_ROWS.unnest("r"))


def add_rows(connection: Connection[Any], rows: Iterable[ConsentRow], chains: Mapping[int, Chain]) -> None:
    """Add rows, each the next of its chain, and move the ends of the chains, which are held."""
    kept = []
    for row in rows:
        chain = chains[row.partition]
        chain.hash = chained(chain.hash, row.leaf)
        chain.tree.append(row.leaf)
        kept.append(KeptRow(row, row.leaf, chain.hash))
    connection.execute(_ADD, _ROWS.parameters(kept))
    for partition, chain in chains.items():
        connection.execute(
            "UPDATE consent_chains SET size = %s, hash = %s, peaks = %s WHERE partition = %s",
            [chain.tree.size, chain.hash, chain.tree.peaks, partition],
        )


def growing_chains(connection: Connection[Any], every: timedelta) -> tuple[dict[int, Chain], int]:
    """The chains that grew since their last head, if that is so old, held; and the server's time in microseconds."""
    rows = connection.execute(
        """SELECT c.partition, c.size, c.hash, c.peaks FROM consent_chains AS c
           WHERE NOT EXISTS (SELECT FROM consent_heads AS h WHERE h.partition = c.partition
                             AND (h.size >= c.size OR h.signed_at > now() - %s)) AND c.size > 0
           ORDER BY c.partition FOR UPDATE""",
        [every],
    ).fetchall()
    [[now]] = connection.execute("SELECT clock_timestamp()").fetchall()
    return {
        partition: Chain(bytes(hash_), Frontier(size, map(bytes, peaks))) for partition, size, hash_, peaks in rows
    }, (microseconds(now))


def add_heads(connection: Connection[Any], heads: Iterable[SignedHead]) -> None:
    """Keep signed heads."""
    for signed in heads:
        head = signed.head
        connection.execute(
            """INSERT INTO consent_heads (partition, size, signed_at, root, chain, key_id, signature)
               VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            [
                head.partition,
                head.size,
                _moment(head.signed_us),
                head.root,
                head.chain,
                signed.key_id,
                signed.signature,
            ],
        )


def heads(connection: Connection[Any], partition: int | None = None) -> list[SignedHead]:
    """The heads of one partition or of all, by partition and size."""
    rows = connection.execute(
        """SELECT partition, size, signed_at, root, chain, key_id, signature FROM consent_heads
           WHERE %(partition)s::int IS NULL OR partition = %(partition)s ORDER BY partition, size""",
        {"partition": partition},
    )
    return [
        SignedHead(TreeHead(number, size, microseconds(at), bytes(root), bytes(chain)), bytes(key_id), bytes(signature))
        for number, size, at, root, chain, key_id, signature in rows
    ]


def chain_ends(connection: Connection[Any]) -> dict[int, tuple[int, bytes]]:
    """The size and the last hash of each chain."""
    rows = connection.execute("SELECT partition, size, hash FROM consent_chains ORDER BY partition")
    return {partition: (size, bytes(hash_)) for partition, size, hash_ in rows}


def partitions(connection: Connection[Any]) -> list[int]:
    """The partitions of which anything is kept."""
    rows = connection.execute(
        """SELECT partition FROM consent_chains UNION SELECT partition FROM consent_heads
           UNION SELECT DISTINCT partition FROM consent_entries ORDER BY 1"""
    )
    return [partition for (partition,) in rows]


_COLUMNS = "partition, number, seen_at, person, salt, committed, sealed, leaf, hash"
_OF_PERSON = f"SELECT {_COLUMNS} FROM consent_entries WHERE person = %s ORDER BY partition, number"  # noqa: S608  # ours
_OF_PARTITION = f"SELECT {_COLUMNS} FROM consent_entries WHERE partition = %s ORDER BY number"  # noqa: S608  # ours


def rows_of_person(connection: Connection[Any], person: bytes) -> list[ConsentRow]:
    """The rows of a pseudonym, by partition and number."""
    return [_kept(row).row for row in connection.execute(_OF_PERSON, [person])]


def rows_of_partition(connection: Connection[Any], partition: int) -> Iterator[KeptRow]:
    """The rows of a chain in their order, read a few at a time within the transaction."""
    with connection.cursor(name="consent_rows") as cursor:
        cursor.itersize = READ_AT_ONCE
        cursor.execute(_OF_PARTITION, [partition])
        for row in cursor:
            yield _kept(row)


def leaves(connection: Connection[Any], partition: int, size: int) -> list[bytes]:
    """The hashes of the first `size` rows of a chain as leaves."""
    rows = connection.execute(
        "SELECT leaf FROM consent_entries WHERE partition = %s AND number < %s ORDER BY number", [partition, size]
    )
    return [bytes(leaf) for (leaf,) in rows]


def _kept(columns: Sequence[Any]) -> KeptRow:
    partition, number, seen_at, *hashes = columns
    person, salt, committed, sealed, leaf, hash_ = map(bytes, hashes)
    return KeptRow(ConsentRow(partition, number, microseconds(seen_at), person, salt, committed, sealed), leaf, hash_)


def _moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)
