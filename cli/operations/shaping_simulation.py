"""`ebbtide senders simulate`: recorded attempts against two shaping files, and what would differ."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError
from rich.console import Console

from cli.columns import aligned
from schemas.errors import UserError
from senders.shaping.file import ShapingFile, built_in
from senders.shaping.loader import load
from senders.shaping.simulation import RecordedAttempt, SimulatedLane, Simulation, Simulator

LONGEST_LINE = 64 * 1024


def simulate(config: Path, now: Path | None, attempts: Path) -> tuple[Simulation, Simulation]:
    """What the file in force and the new one would have done with the attempts; raises UserError."""
    files: list[ShapingFile] = [load(now) if now is not None else built_in(), load(config)]
    simulators = [Simulator(file) for file in files]
    with attempts.open("rb") as opened:
        last = None
        for number, attempt in _read(opened, attempts):
            if last is not None and attempt.at < last:
                raise UserError(f"{attempts}:{number}: sooner than the line before; sort the attempts by `at`")
            last = attempt.at
            for simulator in simulators:
                simulator.take(attempt)
    return simulators[0].result, simulators[1].result


def _read(opened: BinaryIO, path: Path) -> Iterator[tuple[int, RecordedAttempt]]:
    for number in itertools.count(1):
        line = opened.readline(LONGEST_LINE)
        if not line:
            return
        try:
            yield number, RecordedAttempt.model_validate_json(line)
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, wrong["loc"]))
            raise UserError(f"{path}:{number}: not an attempt: {place} {str(wrong['msg']).lower()}") from None


def as_json(now: Simulation, new: Simulation) -> dict[str, Any]:
    """Both results as JSON values."""
    return {
        name: {
            "lanes": {
                lane: {
                    "attempts": each.attempts,
                    "suspended": each.suspended,
                    "held": each.held,
                    "late": each.late,
                    "longest_wait_s": round(each.longest_wait_s, 3),
                }
                for lane, each in found.lanes.items()
            },
            "rules": {
                rule: {"triggered": count, "first": found.first[rule].isoformat()}
                for rule, count in found.triggered.items()
            },
        }
        for name, found in (("now", now), ("new", new))
    }


def show(console: Console, now: Simulation, new: Simulation) -> None:
    """Prints what differs."""
    rows = [
        ("LANE", "ATTEMPTS", "SUSPENDED", "HELD", "LATE", "LONGEST WAIT"),
        *(_row(name, now.lanes.get(name), new.lanes.get(name)) for name in sorted({*now.lanes, *new.lanes})),
    ]
    differing = [row for row in rows if any("→" in cell for cell in row)]
    for line in aligned([rows[0], *differing]) if differing else ["no lane differs"]:
        console.print(line, markup=False, soft_wrap=True)
    for rule in sorted({*now.triggered, *new.triggered}):
        before, after = now.triggered.get(rule, 0), new.triggered.get(rule, 0)
        if before != after:
            console.print(f"{rule} triggers {before} → {after} times", markup=False, soft_wrap=True)
    attempts = sum(lane.attempts for lane in new.lanes.values())
    console.print(f"{attempts:,} attempts, {len(differing):,} of {len(rows) - 1:,} lanes differ", markup=False)


def _row(name: str, now: SimulatedLane | None, new: SimulatedLane | None) -> tuple[str, ...]:
    before, after = now or SimulatedLane(), new or SimulatedLane()
    pairs = [
        (f"{before.attempts:,}", f"{after.attempts:,}"),
        (f"{before.suspended:,}", f"{after.suspended:,}"),
        (f"{before.held:,}", f"{after.held:,}"),
        (f"{before.late:,}", f"{after.late:,}"),
        (f"{before.longest_wait_s:.1f} s", f"{after.longest_wait_s:.1f} s"),
    ]
    return name, *(one if one == other else f"{one} → {other}" for one, other in pairs)
