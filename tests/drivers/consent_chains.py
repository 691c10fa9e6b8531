"""A chain of the ledger of consent in memory: people, their rows, heads and proofs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from web.consent import sealing
from web.consent.entries import ConsentAnswer, ConsentChange, chained, sealed_row
from web.consent.merkle import MerkleTree
from web.consent.proofs import ConsentProof, ProvenEntry, grown
from web.consent.signed_heads import HeadKeys, SignedHead, TreeHead
from web.consent.tables import KeptRow

SEED, OTHER_SEED = "11" * 32, "22" * 32
PARTITION = 3


def key_of(user: str) -> bytes:
    """A person's key."""
    return user.encode().ljust(32, b".")


def change_of(user: str, number: int) -> ConsentChange:
    """The change that entry `number` keeps."""
    return ConsentChange(user, "marketing", ConsentAnswer.GRANTED, number, "form", "1", "shop", f"profiles[3]@{number}")


@dataclass
class MemoryChain:
    """Rows of users, one each time that a name is given."""

    rows: list[KeptRow] = field(default_factory=list)
    keys: HeadKeys = field(default_factory=lambda: HeadKeys([SEED]))

    @classmethod
    def of(cls, *users: str) -> "MemoryChain":
        """A chain with an entry of each of these users."""
        chain = cls()
        for user in users:
            chain.add(user)
        return chain

    def add(self, user: str) -> None:
        """Add an entry."""
        number = len(self.rows)
        row = sealed_row(change_of(user, number), key_of(user), number.to_bytes(16, "big"), PARTITION, number, number)
        self.rows.append(KeptRow(row, row.leaf, chained(self.rows[-1].hash if self.rows else b"", row.leaf)))

    @property
    def tree(self) -> MerkleTree:
        """The tree over all rows."""
        return MerkleTree(kept.leaf for kept in self.rows)

    @property
    def end(self) -> tuple[int, bytes]:
        """What the table of chains says."""
        return len(self.rows), self.rows[-1].hash if self.rows else b""

    def head(self, size: int | None = None) -> SignedHead:
        """The head of the first `size` rows."""
        size = len(self.rows) if size is None else size
        return self.keys.sign(TreeHead(PARTITION, size, size, self.tree.root(size), self.rows[size - 1].hash))

    def proof(self, user: str, size: int | None = None, older: Sequence[SignedHead] = ()) -> ConsentProof:
        """The proof for a user by the head of the first `size` rows, and that it grew since the older heads."""
        head, person = self.head(size), sealing.pseudonym(key_of(user))
        entries = []
        for row in (kept.row for kept in self.rows if kept.row.person == person):
            key = sealing.entry_key(key_of(user), row.salt)
            covered = row.number < head.head.size
            path = self.tree.inclusion(row.number, head.head.size) if covered else None
            entries.append(ProvenEntry(row.change(key), row, key, path))
        tree = MerkleTree(kept.leaf for kept in self.rows[: head.head.size])
        growth = [grown(each, {PARTITION: head}, {PARTITION: tree}) for each in older]
        return ConsentProof(user, entries, [head], growth)

    def rewrite(self, number: int, user: str) -> None:
        """Put an entry of a user in the place of another, and make all that follows fit it."""
        rows = [kept.row for kept in self.rows]
        old = rows[number]
        rows[number] = sealed_row(change_of(user, number), key_of(user), old.salt, PARTITION, number, old.seen_us)
        self.rows = []
        for row in rows:
            self.rows.append(KeptRow(row, row.leaf, chained(self.rows[-1].hash if self.rows else b"", row.leaf)))

    def change(self, number: int, **fields: bytes) -> None:
        """Change fields of a row, and nothing else."""
        kept = self.rows[number]
        self.rows[number] = replace(kept, row=replace(kept.row, **fields))
