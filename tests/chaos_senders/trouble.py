"""What happens to delivery in a chaos run, and when: a schedule that is a function of the seed."""

from dataclasses import dataclass
from random import Random

from drivers.troubled_run import Trouble

SHARES = {"kill": 0.36, "freeze": 0.36, "term": 0.08, "add": 0.1, "remove": 0.1}
"""`term`, `add` and `remove` are the rebalances: a worker leaves and comes back, one joins, one leaves."""
SERVERS = ("receiver", "endpoints", "broker", "database")
OUTAGE_S = (1.0, 10.0)
LEAST_S = 0.5
LONG_RUN_S = 300.0
VERY_LONG_S = (22.0, 30.0)
"""In a long run one freeze in twenty outlasts the 20 s for which the others wait for a lock too."""


@dataclass(frozen=True)
class Patience:
    """How long Kafka waits for a silent worker, and the ledger for a silent owner."""

    session_s: float
    lease_s: float

    def freezes(self) -> tuple[tuple[float, float], ...]:
        """The bounds of freezes: shorter than both, between them, and longer than both."""
        short, long = sorted((self.session_s, self.lease_s))
        return ((0.2 * short, 0.8 * short), (short, long), (1.2 * long, 2 * long))


def schedule(seed: int, seconds: float, troubles: int, outages: int, patience: Patience) -> list[Trouble]:
    """So many kills, freezes and rebalances, evenly, and between them so many outages of each server."""
    chance = Random(f"trouble {seed}")
    kinds = [kind for kind, share in SHARES.items() for _ in range(max(1, round(share * troubles)))]
    chance.shuffle(kinds)
    kinds = (kinds + chance.choices(list(SHARES), k=troubles))[:troubles]
    found = [
        _one(chance, kind, seconds * (number + chance.random()) / len(kinds), patience, long=seconds >= LONG_RUN_S)
        for number, kind in enumerate(kinds)
    ]
    found += [
        Trouble(seconds * chance.uniform(0.05, 0.95), server, "", chance.uniform(*OUTAGE_S), chance.random())
        for server in SERVERS
        for _ in range(outages)
    ]
    return sorted(found, key=lambda trouble: trouble.at_s)


def controlled(kind: str, seconds: float, troubles: int, patience: Patience) -> list[Trouble]:
    """Only kills, or only freezes that outlast session and lease: each shows a fault of a control."""
    long_s = patience.freezes()[-1][1]
    return [
        Trouble(seconds * (number + 0.2) / troubles, kind, f"{long_s:.1f} s", long_s, number % 2 * 0.5)
        for number in range(troubles)
    ]


def _one(chance: Random, kind: str, at_s: float, patience: Patience, *, long: bool) -> Trouble:
    seconds, detail = 0.0, ""
    if kind == "freeze":
        bounds = VERY_LONG_S if long and chance.random() < 0.05 else chance.choice(patience.freezes())
        seconds = max(LEAST_S, chance.uniform(*bounds))
    elif kind == "kill" and chance.random() < 0.5:
        seconds = chance.uniform(0.5, 1.5) * patience.lease_s  # others take over; else it comes back at once
    if seconds:
        detail = f"{seconds:.1f} s"
    return Trouble(at_s, kind, detail, seconds, chance.random())
