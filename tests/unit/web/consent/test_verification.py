"""Verifying a chain row by row: the first row that is not as it was is named."""

from dataclasses import replace

import pytest
from drivers.consent_chains import OTHER_SEED, PARTITION, MemoryChain

from web.consent.signed_heads import HeadKeys, SignedHead
from web.consent.verification import ChainCheck, ConsentProblem


@pytest.fixture
def chain() -> MemoryChain:
    return MemoryChain.of("ann", "bob", "ann", "eve", "ann", "bob", "ann")


def first_problem(
    chain: MemoryChain, *heads: SignedHead, end: tuple[int, bytes] | None = None
) -> ConsentProblem | None:
    check = ChainCheck(PARTITION, heads, HeadKeys([OTHER_SEED, "11" * 32]))
    for kept in chain.rows:
        if (problem := check.row(kept)) is not None:
            return problem
    return check.end(end or chain.end)


def test_a_chain_that_only_grew_is_whole(chain):
    assert first_problem(chain, chain.head(2), chain.head(5), chain.head(7)) is None
    assert first_problem(MemoryChain()) is None


@pytest.mark.parametrize("field", ["person", "salt", "committed", "sealed"])
def test_a_row_that_was_changed_is_named(chain, field):
    chain.change(2, **{field: b"x" * 16})
    problem = first_problem(chain, chain.head())
    assert problem is not None
    assert (problem.number, problem.what) == (2, "was changed: its hash is not that of its content")


def test_a_row_whose_hash_was_changed_with_it_is_named(chain):
    chain.change(2, salt=b"x" * 16)
    chain.rows[2] = replace(chain.rows[2], leaf=chain.rows[2].row.leaf)
    problem = first_problem(chain)
    assert problem is not None
    assert problem.number == 2
    assert "does not continue the chain" in problem.what


def test_a_chain_that_was_rewritten_as_a_whole_is_not_what_was_signed(chain):
    heads = chain.head(2), chain.head(5)
    chain.rewrite(3, "bob")
    problem = first_problem(chain, *heads)
    assert problem is not None
    assert "one of the rows 2 to 4 is not what was signed" in problem.what


def test_a_missing_row_is_named(chain):
    del chain.rows[3]
    problem = first_problem(chain)
    assert problem is not None
    assert (problem.number, problem.what) == (3, "is missing: the next one is row 4")


def test_rows_that_are_missing_at_the_end_are_named(chain):
    head, end = chain.head(), chain.end
    del chain.rows[5:]
    problem = first_problem(chain, head)
    assert problem is not None
    assert problem.number == 5
    assert "is missing: a head signed at" in problem.what
    without_head = first_problem(chain, end=end)
    assert without_head is not None
    assert "the end of the chain" in without_head.what


def test_a_head_must_be_signed_by_a_known_key(chain):
    problem = first_problem(chain, replace(chain.head(5), key_id=b"unknown!"))
    assert problem is not None
    assert "the head of 5 rows: signed by the key" in problem.what
    forged = first_problem(chain, replace(chain.head(5), signature=bytes(64)))
    assert forged is not None
    assert "its signature is not that of its content" in forged.what
