"""How many refusals a second one core classifies: `.venv/bin/python -m perf.bench_bounces`.

The refusals are those that the tests hold, of real servers' wording, and then each of them repeated up to the 1,024
characters of which the rules see nothing more. Best of seven, by the CPU time of this process.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from senders.bounces.classifier import load_classifier
from senders.bounces.refusal import MAX_CHARS, Refusal, Stage
from senders.channels.smtp.replies import parse

REPLIES = Path(__file__).parents[1] / "tests" / "unit" / "senders" / "bounces" / "replies"
TIMES, ROUNDS = 10, 7


def recorded() -> list[Refusal]:
    """The refusals of the tests."""
    lines = [line for name in ("condemn", "spare") for line in (REPLIES / f"{name}.txt").read_text().splitlines()]
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            stage, _, reply = line.split(" ", 2)
            parsed = parse(int(reply[:3]), reply[4:])
            found.append(Refusal(parsed.text, parsed.code, parsed.enhanced, Stage(stage)))
    return found


def per_second(refusals: Sequence[Refusal]) -> float:
    """The best rate of some rounds."""
    classifier, best = load_classifier(), 0.0
    for _ in range(ROUNDS):
        began_s = time.process_time()
        for refusal in refusals:
            for _ in range(TIMES):
                classifier.classify(refusal)
        best = max(best, len(refusals) * TIMES / (time.process_time() - began_s))
    return best


def main() -> None:
    """Print both rates."""
    refusals = recorded()
    long = [
        Refusal((each.text + " ") * (MAX_CHARS // (len(each.text) + 1) + 1), each.code, each.enhanced, each.stage)
        for each in refusals
    ]
    for name, kind in (("as servers say them", refusals), (f"{MAX_CHARS} characters each", long)):
        sys.stdout.write(f"{len(kind)} refusals, {name}: {per_second(kind):,.0f} classified/s\n")


if __name__ == "__main__":
    main()
