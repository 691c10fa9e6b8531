"""The proof of what is kept of a person: their entries, each shown to be in a signed head. It is checked offline.

A proof has the keys of the entries in it, so whoever has it can read these. Of later entries it tells nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import Connection

from web.consent import sealing, tables
from web.consent.entries import ConsentChange, ConsentRow
from web.consent.merkle import MerkleTree, is_consistent, is_included
from web.consent.sealing import NotItsKey
from web.consent.signed_heads import HeadKeys, SignedHead, UntrustedHead

FORMAT = "ebbtide-consent-proof-1"


class BrokenLedger(Exception):
    """The rows do not have the root that was signed."""


class InvalidProof(ValueError):
    """A proof does not show what it says; the message says where."""


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry, its row, and the hashes that lead from it to the root of its head; none where no head covers it yet."""

    change: ConsentChange
    row: ConsentRow
    key: bytes
    inclusion: Sequence[bytes] | None

    def as_json(self) -> dict[str, Any]:
        """The entry, as `_entry_of` reads it."""
        path = None if self.inclusion is None else [step.hex() for step in self.inclusion]
        return {**self.change.as_json(), "row": self.row.fields(), "key": self.key.hex(), "inclusion": path}


class Growth(NamedTuple):
    """A head that was kept elsewhere, and the hashes that lead from it to the head of its partition in the proof."""

    older: SignedHead
    consistency: Sequence[bytes]

    def as_json(self) -> dict[str, Any]:
        """The growth, as `_growth_of` reads it."""
        return {"from": self.older.as_json(), "consistency": [step.hex() for step in self.consistency]}


@dataclass(frozen=True, slots=True)
class ConsentProof:
    """All that the ledger has of a user."""

    user_id: str
    entries: Sequence[ProvenEntry]
    heads: Sequence[SignedHead]
    """The latest of each partition that has entries of the user."""
    growth: Sequence[Growth] = ()

    @property
    def uncovered(self) -> int:
        """How many entries no head covers yet."""
        return sum(each.inclusion is None for each in self.entries)

    def as_json(self) -> dict[str, Any]:
        """The proof as a document."""
        grown = {"grown": [each.as_json() for each in self.growth]} if self.growth else {}
        return {
            "format": FORMAT,
            "user_id": self.user_id,
            "heads": [head.as_json() for head in self.heads],
            "entries": [entry.as_json() for entry in self.entries],
            **grown,
        }


def prove(connection: Connection[Any], user_id: str, kept: Sequence[SignedHead] = ()) -> ConsentProof | None:
    """The proof for a user, from one snapshot; None if there is no entry of theirs, or none that can be read any more.

    It shows growth since the heads `kept` elsewhere that are of the user's partitions. Raises BrokenLedger.
    """
    key = tables.person_key(connection, user_id)
    if key is None:
        return None
    rows = tables.rows_of_person(connection, sealing.pseudonym(key))
    partitions = {row.partition for row in rows}
    heads = {number: found[-1] for number in partitions if (found := tables.heads(connection, number))}
    trees = {number: _tree(connection, signed) for number, signed in heads.items()}
    entries = [_proven(row, key, trees.get(row.partition)) for row in rows]
    growth = [grown(older, heads, trees) for older in kept if older.head.partition in partitions]
    return ConsentProof(user_id, entries, [heads[number] for number in sorted(heads)], growth)


def _tree(connection: Connection[Any], signed: SignedHead) -> MerkleTree:
    head = signed.head
    tree = MerkleTree(tables.leaves(connection, head.partition, head.size))
    if tree.size != head.size or tree.root() != head.root:
        raise BrokenLedger(f"the rows of partition {head.partition} are not those that were signed")
    return tree


def _proven(row: ConsentRow, person_key: bytes, tree: MerkleTree | None) -> ProvenEntry:
    key = sealing.entry_key(person_key, row.salt)
    inclusion = None if tree is None or row.number >= tree.size else tree.inclusion(row.number)
    try:
        return ProvenEntry(row.change(key), row, key, inclusion)
    except NotItsKey as error:
        raise BrokenLedger(f"row {row.number} of partition {row.partition}: {error}") from None


def grown(older: SignedHead, heads: Mapping[int, SignedHead], trees: Mapping[int, MerkleTree]) -> Growth:
    """The growth from a kept head to that of its partition. Raises BrokenLedger if it is not the beginning of that."""
    partition, size = older.head.partition, older.head.size
    newer = heads.get(partition)
    steps = trees[partition].consistency(size) if newer is not None and 0 < size <= newer.head.size else []
    if newer is None or not is_extended(older, newer, steps):
        raise BrokenLedger(f"partition {partition} does not begin with the {size} rows of the head that was kept")
    return Growth(older, steps)


class CheckedProof(NamedTuple):
    """The entries of a proof that are shown to be in a signed head, and those that no head covers yet.

    `grown_since` are the older heads whose rows are shown to be the first ones of those heads.
    """

    user_id: str
    proven: Sequence[ConsentChange]
    uncovered: Sequence[ConsentChange]
    grown_since: Sequence[SignedHead]


def check_proof(document: Mapping[str, Any], keys: HeadKeys) -> CheckedProof:
    """What a proof shows. Raises InvalidProof if any of it is wrong."""
    user_id, entries, growth = document.get("user_id"), document.get("entries"), document.get("grown", [])
    if (
        document.get("format") != FORMAT
        or not isinstance(user_id, str)
        or not isinstance(entries, list)
        or not isinstance(growth, list)
    ):
        raise InvalidProof(f"not a proof of the format {FORMAT}")
    try:
        heads = [SignedHead.of_json(each) for each in document["heads"]]
        for signed in heads:
            keys.verify(signed)
    except (KeyError, TypeError, UntrustedHead, ValueError) as error:
        raise InvalidProof(f"a head: {error}") from None
    by_partition = {signed.head.partition: signed for signed in heads}
    checked = [_checked(number, each, user_id, by_partition) for number, each in enumerate(entries)]
    proven = [entry.change for entry in checked if entry.inclusion is not None]
    uncovered = [entry.change for entry in checked if entry.inclusion is None]
    since = [_checked_growth(number, each, by_partition, keys) for number, each in enumerate(growth)]
    return CheckedProof(user_id, proven, uncovered, since)


def _checked(number: int, said: Any, user_id: str, heads: Mapping[int, SignedHead]) -> ProvenEntry:
    try:
        entry = _entry_of(said)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidProof(f"entry {number}: {error}") from None
    if entry.change.user_id != user_id or any(said.get(name) != text for name, text in entry.change.as_json().items()):
        raise InvalidProof(f"entry {number}: its row says something else")
    if entry.inclusion is None:
        return entry
    signed, row = heads.get(entry.row.partition), entry.row
    if signed is None:
        raise InvalidProof(f"entry {number}: no head of partition {row.partition}")
    if not is_included(row.leaf, row.number, signed.head.size, entry.inclusion, signed.head.root):
        raise InvalidProof(f"entry {number}: not in the tree that was signed")
    return entry


def _entry_of(said: Mapping[str, Any]) -> ProvenEntry:
    row, key, path = ConsentRow.of_fields(said["row"]), bytes.fromhex(said["key"]), said["inclusion"]
    return ProvenEntry(row.change(key), row, key, None if path is None else [bytes.fromhex(step) for step in path])


def _checked_growth(number: int, said: Any, heads: Mapping[int, SignedHead], keys: HeadKeys) -> SignedHead:
    try:
        growth = _growth_of(said)
        keys.verify(growth.older)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidProof(f"growth {number}: {error}") from None
    newer = heads.get(growth.older.head.partition)
    if newer is None or not is_extended(growth.older, newer, growth.consistency):
        raise InvalidProof(f"growth {number}: the older head is not the beginning of a head of this proof")
    return growth.older


def _growth_of(said: Mapping[str, Any]) -> Growth:
    return Growth(SignedHead.of_json(said["from"]), [bytes.fromhex(step) for step in said["consistency"]])


def is_extended(older: SignedHead, newer: SignedHead, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof shows that the newer head only adds to the older one."""
    one, other = older.head, newer.head
    same = one.partition == other.partition
    return same and is_consistent(one.size, one.root, other.size, other.root, proof)
