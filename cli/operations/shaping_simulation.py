"""`ebbtide senders simulate`: recorded attempts against two shaping files, and what would differ."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError
from rich.console import Console

from cli.columns import aligned
from cli.environment import Environment
from cli.operations.recorded_attempts import AttemptHistory, NoAttempts, open_ledger
from infra.postgres.migrate import require_migrated
from schemas.errors import UserError
from schemas.mistakes import mistakes
from senders.settings import SenderSettings
from senders.shaping.file import ShapingFile, built_in
from senders.shaping.loader import load
from senders.shaping.quantities import duration_text
from senders.shaping.simulation import RecordedAttempt, SimulatedLane, SimulatedLimit, Simulation, Simulator

LONGEST_LINE = 64 * 1024


def simulate(config: Path, now: Path | None, attempts: Path) -> tuple[Simulation, Simulation]:
    """What the file in force and the new one would have done with the attempts of a file; raises UserError."""
    simulators = _simulators(config, now)
    with attempts.open("rb") as opened:
        return _run(simulators, _sorted(_read(opened, attempts), attempts))


def simulate_recorded(
    environment: Environment, config: Path, now: Path | None, since: timedelta
) -> tuple[Simulation, Simulation]:
    """The same with the attempts of the ledger."""
    simulators = _simulators(config, now)
    with require_migrated(), open_ledger(environment.ledger_url) as connection:
        history = AttemptHistory(connection, since, environment.settings(SenderSettings).sender.domain)
        before, after = _run(simulators, history)
    if not after.lanes:
        raise NoAttempts(f"the ledger has no attempts of the last {duration_text(since)} to simulate with")
    return before, after


def _simulators(config: Path, now: Path | None) -> tuple[Simulator, Simulator]:
    current: ShapingFile = load(now) if now is not None else built_in()
    return Simulator(current), Simulator(load(config))


def _run(simulators: tuple[Simulator, Simulator], attempts: Iterable[RecordedAttempt]) -> tuple[Simulation, Simulation]:
    before, after = simulators
    for attempt in attempts:
        before.take(attempt)
        after.take(attempt)
    return before.result, after.result


def _sorted(attempts: Iterable[tuple[int, RecordedAttempt]], path: Path) -> Iterator[RecordedAttempt]:
    last = None
    for number, attempt in attempts:
        if last is not None and attempt.at < last:
            raise UserError(f"{path}:{number}: sooner than the line before; sort the attempts by `at`")
        last = attempt.at
        yield attempt


def _read(opened: BinaryIO, path: Path) -> Iterator[tuple[int, RecordedAttempt]]:
    for number in itertools.count(1):
        line = opened.readline(LONGEST_LINE)
        if not line:
            return
        try:
            yield number, RecordedAttempt.model_validate_json(line)
        except ValidationError as error:
            place, words = next(iter(mistakes(error).items()))
            said = f"{place}: {words}" if place else words
            raise UserError(
                f"{path}:{number}: not an attempt: {said}; `ebbtide senders simulate --help` shows one"
            ) from None


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
            "limits": {limit: asdict(each) for limit, each in found.limits.items()},
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
    for line in _limit_lines(now, new):
        console.print(line, markup=False, soft_wrap=True)
    for rule in sorted({*now.triggered, *new.triggered}):
        before, after = now.triggered.get(rule, 0), new.triggered.get(rule, 0)
        if before != after:
            console.print(f"{rule} triggers {before} → {after} times", markup=False, soft_wrap=True)
    attempts = sum(lane.attempts for lane in new.lanes.values())
    console.print(f"{attempts:,} attempts, {len(differing):,} of {len(rows) - 1:,} lanes differ", markup=False)


def _limit_lines(now: Simulation, new: Simulation) -> list[str]:
    """The rates that bind otherwise than before, a line each."""
    rows = []
    for name in sorted({*now.limits, *new.limits}):
        before, after = now.limits.get(name), new.limits.get(name)
        if before != after:
            rows.append((name, f"{_bound(before)} → {_bound(after)}"))
    return aligned([("LIMIT", "MAILS THAT WAIT, THE LONGEST, BY WHICH KEY"), *rows]) if rows else []


def _bound(limit: SimulatedLimit | None) -> str:
    if limit is None:
        return "none"
    return f"{limit.late:,}, {limit.longest_wait_s:.1f} s, {limit.rate} by {limit.set_by}"


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
