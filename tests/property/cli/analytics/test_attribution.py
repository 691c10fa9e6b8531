"""What holds for every set of paths, whichever model divides the credit."""

import math
from collections import Counter
from itertools import combinations, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.analytics.attribution import MODELS, Credit, Path, linear, markov, shapley

campaigns = st.sampled_from(["cart", "drop", "hello", "picks", "back"])


@st.composite
def path(draw: st.DrawFn) -> Path:
    """A path with shares of decay that sum to its conversions."""
    touches = tuple(draw(st.lists(campaigns, min_size=1, max_size=6)))
    won, lost = draw(st.integers(0, 50)), draw(st.integers(0, 50))
    weights = [draw(st.floats(0.01, 1)) for _ in touches]
    return Path(touches, won, lost, tuple(won * weight / sum(weights) for weight in weights))


paths = st.lists(path(), min_size=1, max_size=12)


def total(credit: Credit) -> float:
    """All credit."""
    return math.fsum(credit.values())


@given(found=paths)
def test_every_model_divides_exactly_the_conversions(found: list[Path]) -> None:
    conversions = sum(each.won for each in found)
    assert [total(model(found)) for model in MODELS.values()] == [pytest.approx(conversions, abs=1e-6)] * len(MODELS)


@given(found=paths)
def test_no_campaign_gets_less_than_nothing(found: list[Path]) -> None:
    assert all(share >= -1e-9 for model in MODELS.values() for share in model(found).values())


@given(found=paths, chance=st.randoms())
def test_the_order_of_rows_and_how_they_are_grouped_change_nothing(found: list[Path], chance: Random) -> None:
    halves = [
        Path(each.touches, won, lost, tuple(share / 2 for share in each.decayed))
        for each in found
        for won, lost in ((each.won // 2, each.lost), (each.won - each.won // 2, 0))
    ]
    chance.shuffle(halves)
    for model in MODELS.values():
        parts = model(halves)
        assert all(parts[name] == pytest.approx(share, abs=1e-6) for name, share in model(found).items())


@given(found=paths)
def test_names_mean_nothing(found: list[Path]) -> None:
    renamed = [each._replace(touches=tuple(touch[::-1] for touch in each.touches)) for each in found]
    for model in MODELS.values():
        expected = {name[::-1]: pytest.approx(share, abs=1e-6) for name, share in model(found).items()}
        assert model(renamed) == expected


@given(found=paths)
def test_who_leads_to_no_conversion_gets_no_credit(found: list[Path]) -> None:
    with_useless = [*found, Path(("useless",), 0, 9, (0.0,))]
    assert all(model(with_useless)["useless"] == pytest.approx(0) for model in MODELS.values())


@given(found=paths)
def test_shapley_is_the_mean_of_what_a_campaign_adds_to_all_coalitions(found: list[Path]) -> None:
    """Shapley's definition of 1953, over every coalition."""
    names = sorted({touch for each in found for touch in each.touches})

    def worth(members: frozenset[str]) -> int:
        return sum(each.won for each in found if set(each.touches) <= members)

    def value(name: str) -> float:
        others = [each for each in names if each != name]
        return math.fsum(
            (worth(frozenset({*some, name})) - worth(frozenset(some))) / (len(names) * math.comb(len(others), size))
            for size in range(len(names))
            for some in combinations(others, size)
        )

    assert shapley(found) == {name: pytest.approx(value(name), abs=1e-9) for name in names}


@given(found=paths)
def test_markov_is_the_share_of_walkers_that_no_longer_arrive(found: list[Path]) -> None:
    """The same effects from a walk of many steps instead of a system of equations."""
    moves: dict[str, Counter[str]] = {}
    for each in found:
        for end, people in (("won", each.won), ("lost", each.lost)):
            states = ("start", *each.touches, end)
            for state, following in pairwise(states):
                moves.setdefault(state, Counter())[following] += people

    def arrive(removed: str) -> float:
        places, won = {"start": 1.0}, 0.0
        while places:
            after: Counter[str] = Counter()
            for state, share in places.items():
                for following, people in moves[state].items():
                    if people:
                        after[following] += share * people / moves[state].total()
            won += after.pop("won", 0)
            after.pop("lost", None)
            after.pop(removed, None)
            places = {state: share for state, share in after.items() if share > 1e-12}
        return won

    whole = arrive("")
    names = sorted(moves.keys() - {"start"})
    effects = {name: 1 - arrive(name) / whole if whole else 0.0 for name in names}
    conversions = sum(each.won for each in found)
    expected = {
        name: pytest.approx(effect / sum(effects.values()) * conversions if whole else 0.0, abs=1e-6)
        for name, effect in effects.items()
    }
    assert markov(found) == expected


@given(name=campaigns, won=st.integers(1, 100), lost=st.integers(0, 100), touches=st.integers(1, 5))
def test_a_campaign_alone_gets_everything(name: str, won: int, lost: int, touches: int) -> None:
    alone = Path((name,) * touches, won, lost, (won / touches,) * touches)
    assert all(model([alone]) == {name: pytest.approx(won)} for model in MODELS.values())


@given(found=paths)
def test_linear_of_paths_without_repeats_is_shapley(found: list[Path]) -> None:
    plain = [each for each in found if len(set(each.touches)) == len(each.touches)]
    assert linear(plain) == pytest.approx(shapley(plain))
