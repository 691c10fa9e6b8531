"""`python -m perf.bench_conditions`: our CEL compiler beside CEL in Rust, the one that the tests compare it with.

Both compile a condition once and evaluate it over the same events. Their answers must be the same. CEL in Rust is
measured twice: with each event converted when it is evaluated, as a rule engine has to do, and with all events
converted before the clock starts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cel
import orjson
import typer

from perf import results
from perf.engine_loop import START_MS, event_context
from perf.engine_rules import EngineWorkload
from perf.side_by_side import Rate, rates, record
from triggers.cel.conditions import compile_condition

FILE = results.FILE.with_name("conditions.jsonl")
CONDITIONS = (
    "event.total >= 100.0",
    'event.total >= 100.0 && event.device in ["phone", "tablet"]',
    'event.device.startsWith("ph") || event.total * 2.0 > 150.0',
)
"""Numbers are written as doubles: strict CEL does not mix ints and doubles in arithmetic."""
OURS, CONVERTED, PREPARED = "ebbtide", "rust, event converted each time", "rust, events converted before"


def main(
    events: Annotated[int, typer.Option(min=1, help="Events that each condition is evaluated over.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; a rate is their median.")] = 5,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure conditions a second on one core, ours beside CEL in Rust.

    Example: `python -m perf.bench_conditions --events 10000`
    """

    def measure_all() -> list[Rate]:
        found = [orjson.loads(value) for _, _, value in EngineWorkload(events, 1_000, False, 20, START_MS).records()]
        return [rate for condition in CONDITIONS for rate in measure(condition, found, rounds)]

    record(measure_all, ("common-expression-language", "orjson"), file, {"events": events, "rounds": rounds})


def measure(condition: str, events: Sequence[dict[str, Any]], rounds: int) -> list[Rate]:
    """The rates of each implementation; raises ValueError if their answers differ."""
    ours, rust = compile_condition(condition, "truth"), cel.compile(condition)
    contexts = [event_context(event) for event in events]
    properties = [event["properties"] for event in events]
    prepared = [cel.Context({"event": each}) for each in properties]
    implementations: dict[str, Callable[[], list[bool]]] = {
        OURS: lambda: [ours.holds(context) for context in contexts],
        CONVERTED: lambda: [rust.execute({"event": each}) for each in properties],
        PREPARED: lambda: [rust.execute(context) for context in prepared],
    }
    expected = implementations[OURS]()
    if any(answers() != expected for answers in implementations.values()):
        raise ValueError(f"the implementations disagree about {condition}")
    return rates(condition, len(events), rounds, implementations)


if __name__ == "__main__":
    typer.run(main)
