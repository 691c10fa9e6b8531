"""Which campaigns get the credit for conversions, by six models over the paths that led to them. Pure.

A path is the campaigns whose mails a person clicked, oldest first, until the person converted or was lost. No model
knows what would have happened without a mail: that the holdout's lift says, which belongs beside it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Credit = Mapping[str, float]

_START, _WON, _LOST = "(start)", "(won)", "(lost)"
"""No campaign is called like one of these: names begin with a letter."""


class Path(NamedTuple):
    """The campaigns of a path, how many people went it to a conversion, and how many were lost at its end.

    `decayed` are, for each touch, the shares of credit that half-lives give it, summed over the conversions.
    """

    touches: tuple[str, ...]
    won: int
    lost: int
    decayed: tuple[float, ...]


def first(paths: Iterable[Path]) -> Credit:
    """All credit to the first touch."""
    return _sum((path.touches[0], float(path.won)) for path in paths)


def last(paths: Iterable[Path]) -> Credit:
    """All credit to the last touch."""
    return _sum((path.touches[-1], float(path.won)) for path in paths)


def linear(paths: Iterable[Path]) -> Credit:
    """The same credit to each touch."""
    return _sum((touch, path.won / len(path.touches)) for path in paths for touch in path.touches)


def time_decay(paths: Iterable[Path]) -> Credit:
    """Half the credit for each half-life that lies between a touch and the conversion."""
    return _sum(pair for path in paths for pair in zip(path.touches, path.decayed, strict=True))


def shapley(paths: Iterable[Path]) -> Credit:
    """The Shapley value of the game in which a coalition wins what its members reach without others.

    Shapley, A value for n-person games (1953). This game is a sum of unanimity games, so the value of each path is
    shared equally among its campaigns, without a walk over all coalitions (Zhao, Mahboobi and Bagheri, Shapley value
    methods for attribution modeling in online advertising, 2018).
    """
    coalitions = ((set(path.touches), path.won) for path in paths)
    return _sum((each, won / len(members)) for members, won in coalitions for each in members)


def markov(paths: Sequence[Path]) -> Credit:
    """The removal effect: the share of conversions that would be lost if whoever comes to a campaign left.

    A chain of first order over start, campaigns, won and lost (Anderl, Becker, von Wangenheim and Schumann, Mapping
    the customer journey, International Journal of Research in Marketing 33, 2016). Effects are scaled to the
    conversions.
    """
    chain = _Chain(paths)
    reached = chain.won_without(None)
    if not reached:
        return dict.fromkeys(chain.campaigns, 0.0)
    effects = {each: 1 - chain.won_without(each) / reached for each in chain.campaigns}
    whole, conversions = sum(effects.values()), sum(path.won for path in paths)
    return {each: effect / whole * conversions for each, effect in effects.items()}


MODELS: dict[str, Callable[[Sequence[Path]], Credit]] = {
    "first": first,
    "last": last,
    "linear": linear,
    "time_decay": time_decay,
    "markov": markov,
    "shapley": shapley,
}
"""The models by name."""


def _sum(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    credit: dict[str, float] = defaultdict(float)
    for campaign, share in pairs:
        credit[campaign] += share
    return dict(credit)


class _Chain:
    """How often each state follows another, over all paths."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._moves: dict[str, Counter[str]] = defaultdict(Counter)
        for path in paths:
            for end, people in ((_WON, path.won), (_LOST, path.lost)):
                for state, following in pairwise((_START, *path.touches, end)):
                    self._moves[state][following] += people
        self.campaigns = sorted(self._moves.keys() - {_START})

    def won_without(self, removed: str | None) -> float:
        """The probability to get from start to won if `removed` leads to lost."""
        states = [state for state in (_START, *self.campaigns) if state != removed and self._moves[state].total()]
        place = {state: number for number, state in enumerate(states)}
        rows = [list(self._equation(state, place)) for state in states]
        return _solve(rows)[0] if rows else 0.0

    def _equation(self, state: str, place: Mapping[str, int]) -> Iterator[float]:
        """A row of (1 - Q) x = r: x are the probabilities to be won, r the chance of the next move."""
        moves, total = self._moves[state], self._moves[state].total()
        for other in place:
            yield (other == state) - moves[other] / total
        yield moves[_WON] / total


def _solve(rows: list[list[float]]) -> list[float]:
    """The solution of linear equations by elimination, the last column being the right side.

    1 - Q of an absorbing chain is a weakly dominant M-matrix: elimination without pivoting is stable.
    """
    size = len(rows)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            factor = rows[below][pivot] / rows[pivot][pivot]
            if factor:
                rows[below] = [a - factor * b for a, b in zip(rows[below], rows[pivot], strict=True)]
    found = [0.0] * size
    for row in reversed(range(size)):
        known = sum(rows[row][column] * found[column] for column in range(row + 1, size))
        found[row] = (rows[row][size] - known) / rows[row][row]
    return found
