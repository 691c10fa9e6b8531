"""Verifies the whole ledger: every row, chain, head and signature, and heads that were kept elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from web.consent import tables
from web.consent.entries import chained
from web.consent.merkle import Frontier
from web.consent.signed_heads import HeadKeys, SignedHead, UntrustedHead
from web.consent.tables import KeptRow

TELL_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class ConsentProblem:
    """What is wrong first in a partition."""

    partition: int
    number: int | None
    """The row; None where it is not of one row."""
    what: str


@dataclass(frozen=True, slots=True)
class LedgerVerification:
    """What was verified, and what is wrong."""

    partitions: int
    rows: int
    heads: int
    problems: Sequence[ConsentProblem]


class ChainCheck:
    """Follows one chain row by row. Pure."""

    def __init__(self, partition: int, heads: Iterable[SignedHead], keys: HeadKeys) -> None:
        """`heads` are by size; several may have the same."""
        self.partition = partition
        self.tree = Frontier()
        self.hash = b""
        self._heads = list(heads)
        self._passed = 0
        self._keys = keys

    def row(self, kept: KeptRow) -> ConsentProblem | None:
        """What is wrong with the next row, or with a head that ends with it."""
        row, expected = kept.row, self.tree.size
        if row.number != expected:
            return self._problem(expected, f"is missing: the next one is row {row.number}")
        if kept.leaf != row.leaf:
            return self._problem(expected, "was changed: its hash is not that of its content")
        self.hash = chained(self.hash, row.leaf)
        if kept.hash != self.hash:
            return self._problem(expected, "does not continue the chain: its hash is not over that of the row before")
        self.tree.append(row.leaf)
        return self._heads_here()

    def end(self, end: tuple[int, bytes] | None) -> ConsentProblem | None:
        """What is wrong at the end, where the table of chains says so many rows and this hash."""
        left = self._heads[self._passed :]
        if left:
            head = left[0].head
            return self._problem(self.tree.size, f"is missing: a head signed at {_time(head)} has {head.size} rows")
        if end != (self.tree.size, self.hash):
            return ConsentProblem(self.partition, None, "the end of the chain is not the one in consent_chains")
        return None

    def _heads_here(self) -> ConsentProblem | None:
        before = self._heads[self._passed - 1].head.size if self._passed else 0
        while self._passed < len(self._heads) and self._heads[self._passed].head.size == self.tree.size:
            signed = self._heads[self._passed]
            self._passed += 1
            if (head := signed.head) and (head.root != self.tree.root or head.chain != self.hash):
                what = f"one of the rows {before} to {head.size - 1} is not what was signed at {_time(head)}"
                return ConsentProblem(self.partition, None, what)
            try:
                self._keys.verify(signed)
            except UntrustedHead as error:
                return ConsentProblem(self.partition, None, f"the head of {head.size} rows: {error}")
        return None

    def _problem(self, number: int, what: str) -> ConsentProblem:
        return ConsentProblem(self.partition, number, what)


def _time(head: Any) -> str:
    return str(head.as_json()["time"])


def verify(
    connection: Connection[Any],
    keys: HeadKeys,
    kept_elsewhere: Sequence[SignedHead] = (),
    tell: Callable[[int], None] = lambda _: None,
) -> LedgerVerification:
    """Verify all, within one snapshot. `tell` is called with the number of rows so far."""
    ends, problems, rows, count = tables.chain_ends(connection), [], 0, 0
    known = sorted({*tables.partitions(connection), *(signed.head.partition for signed in kept_elsewhere)})
    for partition in known:
        own = tables.heads(connection, partition)
        others = [signed for signed in kept_elsewhere if signed.head.partition == partition and signed not in own]
        heads = sorted([*own, *others], key=lambda signed: signed.head.size)
        count += len(heads)
        check = ChainCheck(partition, heads, keys)
        problem = _first_problem(check, _telling(tables.rows_of_partition(connection, partition), rows, tell))
        problem = problem or check.end(ends.get(partition, (0, b"")))
        rows += check.tree.size
        if problem is not None:
            problems.append(problem)
    return LedgerVerification(len(known), rows, count, problems)


def _first_problem(check: ChainCheck, rows: Iterable[KeptRow]) -> ConsentProblem | None:
    return next((problem for kept in rows if (problem := check.row(kept)) is not None), None)


def _telling(rows: Iterator[KeptRow], before: int, tell: Callable[[int], None]) -> Iterator[KeptRow]:
    for number, kept in enumerate(rows, before):
        if number % TELL_EVERY == 0:
            tell(number)
        yield kept
