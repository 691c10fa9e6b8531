"""Trees and proofs on the examples that implementations of Certificate Transparency share, and what is refused."""

import pytest

from web.consent.merkle import EMPTY_ROOT, Frontier, MerkleTree, is_consistent, is_included, leaf_hash

LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]


def test_roots_are_those_that_others_publish():
    tree = MerkleTree(HASHES)
    assert [tree.root(size).hex() for size in range(1, 9)] == ROOTS
    assert tree.root(0) == EMPTY_ROOT


def test_a_frontier_must_have_as_many_subtrees_as_its_size_says():
    with pytest.raises(ValueError, match="2 perfect subtrees, not 1"):
        Frontier(3, HASHES[:1])


def test_no_proof_is_made_of_a_leaf_or_a_tree_that_is_not_there():
    tree = MerkleTree(HASHES)
    for index, size in ((8, 8), (-1, 8), (0, 9), (0, 0)):
        with pytest.raises(IndexError):
            tree.inclusion(index, size)
    for first, second in ((0, 8), (9, 8), (3, 9)):
        with pytest.raises(IndexError):
            tree.consistency(first, second)


def test_endless_proofs_are_refused():
    tree = MerkleTree(HASHES)
    assert not is_included(HASHES[0], 0, 8, HASHES * 1_000, tree.root())
    assert not is_consistent(3, tree.root(3), 8, tree.root(), HASHES * 1_000)
    assert not is_consistent(3, tree.root(3), 8, tree.root(), [])
    assert is_consistent(8, tree.root(), 8, tree.root(), [])
