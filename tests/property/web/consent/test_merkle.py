"""Merkle trees of RFC 9162 against a naive tree that is written as the RFC defines it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from web.consent.merkle import Frontier, MerkleTree, is_consistent, is_included, leaf_hash

SIZES = st.integers(1, 70)
HASHES = st.binary(min_size=32, max_size=32)


def naive_root(data: list[bytes]) -> bytes:
    """MTH of §2.1.1."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(data[:k]) + naive_root(data[k:])).digest()


def data_of(size: int) -> list[bytes]:
    return [f"row {number}".encode() for number in range(size)]


def tree_of(size: int) -> MerkleTree:
    return MerkleTree(map(leaf_hash, data_of(size)))


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_root_and_frontier_are_those_of_the_naive_tree(data):
    frontier = Frontier()
    for each in data:
        frontier.append(leaf_hash(each))
    assert frontier.root == MerkleTree(map(leaf_hash, data)).root() == naive_root(data)
    assert Frontier(len(data), frontier.peaks).root == naive_root(data)


@given(SIZES, st.data())
def test_a_tree_has_the_roots_of_all_trees_that_it_grew_from(size, draw):
    before = draw.draw(st.integers(0, size))
    assert tree_of(size).root(before) == naive_root(data_of(size)[:before])


@given(SIZES, st.data())
def test_each_leaf_is_proven_in_each_tree_that_has_it(size, draw):
    of = draw.draw(st.integers(1, size))
    index = draw.draw(st.integers(0, of - 1))
    tree = tree_of(size)
    leaf, proof, root = leaf_hash(data_of(size)[index]), tree.inclusion(index, of), naive_root(data_of(of))
    assert is_included(leaf, index, of, proof, root)

    wrong = draw.draw(st.integers(0, of + 1).filter(lambda other: other != index))
    assert not is_included(leaf, wrong, of, proof, root)
    assert not is_included(leaf_hash(b"another"), index, of, proof, root)
    assert not is_included(leaf, index, of, proof, naive_root([b"another"]))
    for changed in _changed(proof, draw.draw(HASHES)):
        assert not is_included(leaf, index, of, changed, root)


@given(SIZES, st.data())
def test_growth_is_proven_between_any_two_sizes(size, draw):
    first = draw.draw(st.integers(1, size))
    proof, old, new = tree_of(size).consistency(first), naive_root(data_of(first)), naive_root(data_of(size))
    assert is_consistent(first, old, size, new, proof)

    rewritten = naive_root([b"another", *data_of(first)[1:]])
    assert not is_consistent(first, rewritten, size, new, proof)
    assert not is_consistent(first, old, size, naive_root([*data_of(size), b"more"]), proof)
    for changed in _changed(proof, draw.draw(HASHES)):
        assert not is_consistent(first, old, size, new, changed)


def _changed(proof: list[bytes], other: bytes) -> list[list[bytes]]:
    """The proof with a hash added, taken away, or replaced."""
    cut = [proof[:-1]] if proof else []
    replaced = [[*proof[:place], other, *proof[place + 1 :]] for place in range(len(proof)) if proof[place] != other]
    return [[*proof, other], *cut, *replaced]
