"""A block by the receipts of a provider: its phases, and each check of it fails for its own reason."""

import pytest

from cli.demo.block_receipts import Blocking, block_phases, check_block
from infra.local.sink_receipts import Receipt

ONE, TWO = "127.0.0.2", "127.0.0.3"
BLOCKING = Blocking("north.example", ONE, TWO, connections=2, suspended_s=4.0)


def taken(at: float, source: str, user: str, domain: str = "north.example") -> Receipt:
    return Receipt(at, "mail", 1, source, "127.0.0.1", rcpt_to=f"{user}@{domain}", reply="250", kept=True)


def refused(at: float, user: str) -> Receipt:
    return Receipt(at, "rcpt", 1, ONE, "127.0.0.1", rcpt_to=f"{user}@north.example", reply="550 5.7.1 blocked")


BLOCK = [
    taken(1, ONE, "a"),
    taken(2, TWO, "b"),
    taken(2, ONE, "x", "mail.example"),
    refused(3.0, "c"),
    refused(3.1, "d"),
    taken(4, TWO, "c"),
    taken(5, TWO, "d"),
    refused(7.5, "e"),
    taken(8, ONE, "y", "mail.example"),
    taken(9, TWO, "e"),
    taken(12, ONE, "f"),
    taken(13, TWO, "g"),
    taken(13, ONE, "h"),
]


def broken(receipts: list[Receipt]) -> list[str]:
    return [check.says for check in check_block(block_phases(receipts, BLOCKING), BLOCKING) if not check.holds]


def test_a_block_lasts_from_the_first_refusal_to_the_first_mail_after_the_last():
    phases = block_phases(BLOCK, BLOCKING)
    assert phases.before == {ONE: 1, TWO: 1}
    assert phases.meanwhile == {TWO: 3}
    assert phases.after == {ONE: 2, TWO: 1}
    assert [each.rcpt_to[0] for each in phases.refused] == ["c", "d"]
    assert [[each.rcpt_to[0] for each in probe] for probe in phases.probes] == [["e"]]
    assert phases.taken_later(phases.refused[1]) == BLOCK[6]


def test_without_a_refusal_everything_is_before_the_block():
    phases = block_phases(BLOCK[:3], BLOCKING)
    assert (phases.before, phases.meanwhile, phases.after) == ({ONE: 1, TWO: 1}, {}, {})


def test_the_story_as_it_must_go_breaks_no_check():
    assert broken(BLOCK) == []


@pytest.mark.parametrize(
    ("receipts", "says"),
    [
        ([*BLOCK[:5], refused(3.2, "g"), *BLOCK[5:]], "the block meets only mails on their way"),
        ([each for each in BLOCK if each.source == ONE or each.at < 3 or each.at > 12], "the other source takes over"),
        ([*BLOCK[:8], refused(7.6, "g"), *BLOCK[8:]], "one mail at a time tries again"),
        ([each for each in BLOCK if each.at != 7.5], "one mail at a time tries again"),
        ([each for each in BLOCK if each.source == TWO or each.at < 12], "the blocked source comes back"),
        ([each for each in BLOCK if each.at != 9], "each refused mail is taken later"),
    ],
)
def test_each_fault_breaks_its_check(receipts: list[Receipt], says: str):
    assert says in "; ".join(broken(receipts))
