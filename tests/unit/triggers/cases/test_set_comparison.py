"""Comparisons of two rule sets: users by what changes, in any division of the users."""

from hypothesis import given
from hypothesis import strategies as st

from triggers.cases.set_comparison import SAMPLE, ChangeKind, SetComparison, change_of
from triggers.cases.user_replay import ReplayedSend

sends = st.lists(st.builds(ReplayedSend, st.integers(0, 3), st.sampled_from("ab"), st.just("s")), max_size=3)
users = st.dictionaries(st.integers(0, 99).map(str), st.tuples(sends, sends), max_size=40)


def compared(of: dict[str, tuple[list[ReplayedSend], list[ReplayedSend]]]) -> SetComparison:
    found = SetComparison()
    for user, (old, new) in of.items():
        found.user(user, old, new)
    return found


def test_a_user_gets_more_fewer_others_or_the_same() -> None:
    one, other = ReplayedSend(1, "a", "s"), ReplayedSend(2, "a", "s")
    assert change_of([], [one]) is ChangeKind.MORE
    assert change_of([one, other], [one]) is ChangeKind.FEWER
    assert change_of([one], [other]) is ChangeKind.OTHER
    assert change_of([one], [one]) is ChangeKind.SAME


def test_users_are_counted_by_rule_and_by_whether_they_get_anything() -> None:
    a, b = ReplayedSend(1, "a", "s"), ReplayedSend(1, "b", "s")
    found = compared({"u1": ([a], [b]), "u2": ([], [a]), "u3": ([a, b], []), "u4": ([a], [a]), "u5": ([], [])})
    assert found.users == {ChangeKind.OTHER: 1, ChangeKind.MORE: 1, ChangeKind.FEWER: 1, ChangeKind.SAME: 1}
    assert (found.gained, found.lost) == (1, 1)
    assert found.users_of == {
        ("a", ChangeKind.FEWER): 2,
        ("a", ChangeKind.MORE): 1,
        ("b", ChangeKind.MORE): 1,
        ("b", ChangeKind.FEWER): 1,
    }


@given(users, st.integers(1, 4))
def test_parts_give_together_what_the_whole_gives(
    of: dict[str, tuple[list[ReplayedSend], list[ReplayedSend]]], parts: int
) -> None:
    together = SetComparison()
    for part in reversed(range(parts)):
        together.add(compared(dict(list(of.items())[part::parts])))
    whole = compared(of)
    assert together == whole
    assert all(len(sample) <= SAMPLE for sample in whole.sample.values())
