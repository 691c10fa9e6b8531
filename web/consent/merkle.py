"""Merkle trees of RFC 9162 (§2.1): the root over a list of leaves, and the proofs of inclusion and consistency. Pure.

Leaf and node hashes have different prefixes, so that no node can be passed off as a leaf.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees together."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that only grows: the roots of its perfect subtrees, the largest first; log₂ n hashes of n leaves."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Raises ValueError if a tree of this size does not have so many perfect subtrees."""
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(self.peaks)}")

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        if not self.peaks:
            return EMPTY_ROOT
        *rest, root = self.peaks
        for peak in reversed(rest):
            root = node_hash(peak, root)
        return root


class MerkleTree:
    """A tree over the hashes of leaves, which answers with proofs. It keeps each perfect subtree: two hashes a leaf."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([node_hash(left, right) for left, right in pairs])

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def root(self, size: int | None = None) -> bytes:
        """The root of the tree of the first `size` leaves, by default of all."""
        stop = self.size if size is None else size
        return self._root(0, stop) if stop else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that a leaf is in the tree of the first `size` leaves (§2.1.3.1). Raises IndexError."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise IndexError(f"no leaf {index} among {size}")
        return list(self._path(index, 0, size))

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """The proof that the tree of `second` leaves begins with that of `first` (§2.1.4.1). Raises IndexError."""
        second = self.size if second is None else second
        if not 0 < first <= second <= self.size:
            raise IndexError(f"no tree of {first} leaves within one of {second}")
        return list(self._subproof(first, 0, second, known=True))

    def _root(self, start: int, stop: int) -> bytes:
        count = stop - start
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(count)
        return node_hash(self._root(start, middle), self._root(middle, stop))

    def _path(self, index: int, start: int, stop: int) -> Iterator[bytes]:
        if stop - start == 1:
            return
        middle = start + _split(stop - start)
        if index < middle:
            yield from self._path(index, start, middle)
            yield self._root(middle, stop)
        else:
            yield from self._path(index, middle, stop)
            yield self._root(start, middle)

    def _subproof(self, first: int, start: int, stop: int, *, known: bool) -> Iterator[bytes]:
        if first == stop - start:
            if not known:
                yield self._root(start, stop)
            return
        split = _split(stop - start)
        middle = start + split
        if first <= split:
            yield from self._subproof(first, start, middle, known=known)
            yield self._root(middle, stop)
        else:
            yield from self._subproof(first - split, middle, stop, known=False)
            yield self._root(start, middle)


def _split(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the tree with this root and size has this leaf at this index (§2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(step, node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, step)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the second tree begins with the leaves of the first (§2.1.4.2)."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second:
        return False
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not steps:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root
