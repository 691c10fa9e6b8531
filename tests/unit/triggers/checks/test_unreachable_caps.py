"""Caps of policies that can never be reached, because all triggers of one policy also obey the other."""

import pytest

from triggers.language.diagnostics import SourceFile
from triggers.loader import check

DAY = "cap: {max: 2, per: 1d, scope: purpose}"
THREE_DAYS = "cap: {max: 1, per: 3d, scope: all}"


def unreachable(*policies: tuple[str, str, str]) -> list[str]:
    """The policies with a cap that is reported as never reached."""
    text = "---\n".join(f"policy: {name}\nfor: {obeying}\n{cap}\n" for name, obeying, cap in policies)
    names = [name for name, _, _ in policies]
    return [names[(each.line - 1) // 4] for each in check([SourceFile("r.yaml", text)], {})]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("{}", "{purpose: news}"), ("{}", "{channel: email}"), ("{purpose: news}", "{purpose: news, channel: email}")],
)
def test_a_cap_is_never_reached_where_all_who_obey_it_obey_a_stricter_one(wide: str, narrow: str) -> None:
    assert unreachable(("a", narrow, DAY), ("b", wide, THREE_DAYS)) == ["a"]
    assert unreachable(("b", wide, THREE_DAYS), ("a", narrow, DAY)) == ["a"]


@pytest.mark.parametrize(
    ("other", "policy"),
    [
        *(("{purpose: news}", "{}"), ("{purpose: news}", "{purpose: marketing}"), ("{channel: email}", "{}")),
        ("{}", "{purpose: transactional}"),
    ],
)
def test_it_can_be_reached_by_those_who_do_not_obey_the_other(other: str, policy: str) -> None:
    assert unreachable(("a", policy, DAY), ("b", other, THREE_DAYS)) == []


def test_a_looser_cap_and_one_that_drops_beside_one_that_defers_are_fine() -> None:
    assert unreachable(("a", "{}", DAY), ("b", "{}", "cap: {max: 3, per: 3d, scope: all}")) == []
    assert unreachable(("a", "{}", DAY), ("b", "{}", "cap: {max: 1, per: 3d, scope: all, over: defer}")) == []


def test_only_one_of_two_equal_caps_is_reported() -> None:
    assert unreachable(("b", "{}", DAY), ("a", "{}", DAY)) == ["b"]
