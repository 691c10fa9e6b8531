"""What happens to a chaos run, and when: a schedule that is a function of the seed."""

from dataclasses import dataclass
from random import Random

from drivers.troubled_run import Trouble

from streams.runtime.failpoints import NAMES

FREEZE_S = 13.0
"""Longer than the session of 10 s: it wakes as a zombie."""
STRIKES_WITHIN_S = 40.0


@dataclass(frozen=True)
class Amounts:
    """How often each thing happens."""

    kill: int
    freeze: int
    term: int
    add: int
    remove: int
    broker: int
    failpoint: int
    rules: int
    control: int


def amounts(minutes: float) -> Amounts:
    """Enough for a run of that many minutes; a long one has everything, and each failpoint, at least once."""
    if minutes < 3:
        return Amounts(kill=2, freeze=1, term=1, add=0, remove=0, broker=1, failpoint=2, rules=3, control=4)
    share = minutes / 5
    return Amounts(
        kill=round(6 * share),
        freeze=round(2 * share),
        term=round(2 * share),
        add=round(2 * share),
        remove=round(2 * share),
        broker=round(2 * share),
        failpoint=max(len(NAMES), round(7 * share)),
        rules=round(12 * share),
        control=round(14 * share),
    )


def schedule(seed: int, seconds: float, wanted: Amounts) -> list[Trouble]:
    """Everything that happens, by time; workers and the broker have the last seconds to come back."""
    chance = Random(f"trouble {seed}")
    last_s = max(1.0, seconds - 5)
    names = [
        name for _ in range(-(-wanted.failpoint // len(NAMES))) for name in chance.sample(sorted(NAMES), len(NAMES))
    ]
    hard = [
        name for name in ("kill", "freeze", "term", "add", "remove", "broker") for _ in range(getattr(wanted, name))
    ]
    hard += [f"failpoint {names[number]}" for number in range(wanted.failpoint)]
    chance.shuffle(hard)
    found = [
        _one(chance, name, last_s * (number + chance.uniform(0.2, 0.9)) / len(hard)) for number, name in enumerate(hard)
    ]
    for name in ("rules", "control"):
        found += [_one(chance, name, chance.uniform(0.02, 0.98) * last_s) for _ in range(getattr(wanted, name))]
    return sorted(found, key=lambda trouble: trouble.at_s)


def _one(chance: Random, name: str, at_s: float) -> Trouble:
    kind, _, detail = name.partition(" ")
    seconds = {"freeze": FREEZE_S + chance.uniform(0, 3), "broker": chance.uniform(3, 20)}.get(kind, 0.0)
    if kind == "failpoint":
        detail = f"{detail}:{1 if detail == 'in_recovery' else chance.randrange(1, 12)}"
    return Trouble(at_s, kind, detail, seconds, chance.random())
