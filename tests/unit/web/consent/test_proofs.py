"""Proofs as documents: what they show without a server, and what is refused."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from drivers.consent_chains import OTHER_SEED, SEED, MemoryChain

from web.consent.proofs import BrokenLedger, InvalidProof, check_proof, grown, is_extended
from web.consent.signed_heads import HeadKeys, SignedHead

CHAIN = MemoryChain.of("ann", "bob", "ann", "eve", "ann", "bob", "ann")
PUBLIC = HeadKeys((), HeadKeys([SEED]).public_texts().values())
"""Nothing but the public key."""


def document(user: str = "ann", size: int | None = None, older: Sequence[SignedHead] = ()) -> Any:
    return orjson.loads(orjson.dumps(CHAIN.proof(user, size, older).as_json()))


def test_a_proof_shows_each_entry_of_a_user_by_the_public_key_alone():
    checked = check_proof(document(), PUBLIC)
    assert [each.seen for each in checked.proven] == [f"profiles[3]@{number}" for number in (0, 2, 4, 6)]
    assert checked.uncovered == []


def test_entries_after_the_head_are_told_apart():
    checked = check_proof(document(size=5), PUBLIC)
    assert (len(checked.proven), len(checked.uncovered)) == (3, 1)


def test_a_proof_has_no_key_of_other_entries():
    assert CHAIN.rows[1].row.person.hex() not in str(document())


def _set(path: list[Any], value: Any) -> Callable[[Any], None]:
    def change(said: Any) -> None:
        *way, last = path
        for step in way:
            said = said[step]
        said[last] = value

    return change


ENTRY = ["entries", 1]
OTHER = CHAIN.proof("bob").as_json()
WRONG = {
    "another user": (_set(["user_id"], "bob"), "something else"),
    "another answer": (_set([*ENTRY, "answer"], "withdrawn"), "something else"),
    "another text": (_set([*ENTRY, "text_version"], "2"), "something else"),
    "another time": (_set([*ENTRY, "time"], "2026-01-01T00:00:00Z"), "something else"),
    "another row": (_set([*ENTRY, "row"], OTHER["entries"][0]["row"]), "another key"),
    "another place": (_set([*ENTRY, "row", 2], 3), "not in the tree"),
    "another partition": (_set([*ENTRY, "row", 1], 4), "no head of partition 4"),
    "another path": (_set([*ENTRY, "inclusion", 0], "00" * 32), "not in the tree"),
    "no hexadecimal": (_set([*ENTRY, "inclusion", 0], "x"), "entry 1"),
    "no path at all": (_set([*ENTRY, "inclusion"], 7), "entry 1"),
    "no entry": (_set(ENTRY, 7), "entry 1"),
    "another root": (_set(["heads", 0, "root"], "00" * 32), "signature"),
    "another size": (_set(["heads", 0, "size"], 8), "signature"),
    "another signature": (_set(["heads", 0, "signature"], "00" * 64), "signature"),
    "another key": (_set(["heads", 0, "key"], "00" * 8), "not known here"),
    "no heads": (_set(["heads"], None), "a head"),
    "no number": (_set(["heads", 0, "size"], "7"), "a head"),
    "another format": (_set(["format"], "x"), "format"),
    "no entries": (_set(["entries"], {}), "format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_proof_that_was_changed_shows_nothing(name):
    change, message = WRONG[name]
    said = copy.deepcopy(document())
    change(said)
    with pytest.raises(InvalidProof, match=message):
        check_proof(said, PUBLIC)


def test_a_head_that_another_key_signed_shows_nothing():
    with pytest.raises(InvalidProof, match="not known here"):
        check_proof(document(), HeadKeys([OTHER_SEED]))


def test_after_a_rotation_heads_of_both_keys_are_trusted():
    rotated = HeadKeys([OTHER_SEED, SEED])
    assert check_proof(document(), rotated).proven
    assert rotated.sign(CHAIN.head().head).key_id != CHAIN.head().key_id


def test_a_newer_head_is_shown_to_extend_an_older_one():
    older, newer = CHAIN.head(3), CHAIN.head()
    proof = CHAIN.tree.consistency(3)
    assert is_extended(older, newer, proof)

    rewritten = MemoryChain.of("ann", "bob", "ann", "eve", "ann", "bob", "ann")
    rewritten.rewrite(1, "eve")
    assert not is_extended(older, rewritten.head(), rewritten.tree.consistency(3))


def test_a_proof_shows_since_which_heads_the_ledger_only_grew():
    older = [CHAIN.head(3), CHAIN.head(4), CHAIN.head()]
    assert check_proof(document(older=older), PUBLIC).grown_since == older
    assert check_proof(document(), PUBLIC).grown_since == []


GROWTH = ["grown", 0]
FOREIGN = HeadKeys([OTHER_SEED]).sign(CHAIN.head(3).head).as_json()
REWRITTEN = MemoryChain.of("ann", "bob", "eve", "ann").head(3).as_json()
WRONG_GROWTH = {
    "another step": (_set([*GROWTH, "consistency", 0], "00" * 32), "not the beginning"),
    "no steps": (_set([*GROWTH, "consistency"], []), "not the beginning"),
    "another head": (_set([*GROWTH, "from"], REWRITTEN), "not the beginning"),
    "another size": (_set([*GROWTH, "from", "size"], 2), "signature"),
    "another signer": (_set([*GROWTH, "from"], FOREIGN), "not known here"),
    "no head": (_set([*GROWTH, "from"], 7), "growth 0"),
    "no hexadecimal": (_set([*GROWTH, "consistency", 0], "x"), "growth 0"),
    "no growth": (_set(GROWTH, 7), "growth 0"),
    "no list": (_set(["grown"], {}), "format"),
}


@pytest.mark.parametrize("name", WRONG_GROWTH)
def test_a_growth_that_was_changed_shows_nothing(name):
    change, message = WRONG_GROWTH[name]
    said = document(older=[CHAIN.head(3)])
    change(said)
    with pytest.raises(InvalidProof, match=message):
        check_proof(said, PUBLIC)


def test_growth_of_a_partition_that_the_proof_has_no_head_of_shows_nothing():
    said = document(older=[CHAIN.head(3)]) | {"entries": [], "heads": []}
    with pytest.raises(InvalidProof, match="growth 0: the older head is not the beginning"):
        check_proof(said, PUBLIC)


@pytest.mark.parametrize(
    "chain", [MemoryChain.of("ann", "bob"), MemoryChain.of("bob", "bob", "ann"), MemoryChain.of(*"abcdefgh")]
)
def test_no_growth_is_made_from_a_head_that_the_ledger_does_not_begin_with(chain):
    with pytest.raises(BrokenLedger, match="partition 3 does not begin with the 3 rows"):
        chain.proof("ann", older=[CHAIN.head(3)])
    with pytest.raises(BrokenLedger, match="partition 3 does not begin with the 3 rows"):
        grown(CHAIN.head(3), {}, {})


def test_a_head_is_read_as_it_was_written():
    head = CHAIN.head()
    assert SignedHead.of_json(orjson.loads(orjson.dumps(head.as_json()))) == head
    for wrong in ({}, head.as_json() | {"root": 7}, head.as_json() | {"format": "x"}):
        with pytest.raises(ValueError, match="not a signed head"):
            SignedHead.of_json(wrong)
