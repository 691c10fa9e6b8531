"""`ebbtide budgets`: what budgets have let through and what they hold, and what a person does with that."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.auditing import audited
from cli.environment import Environment
from cli.operations.delivery_switch_commands import By, Why, required
from cli.options import AsJson, Instance, console, print_json
from schemas.errors import UserError
from schemas.wording import counted, nearest, quoted

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from senders.queue.held_commands import BudgetStatus, HeldCommands

PANEL = "Kill switch"
app = typer.Typer()

Name = Annotated[str, typer.Argument(help="The budget: trigger/NAME or policy/NAME.", show_default=False)]
Most = Annotated[int | None, typer.Option("--most", min=1, help="At most so many, the oldest first; default: all.")]
Make = Callable[["AsyncConnection[Any]", Sequence[str]], AsyncIterator[int]]


class NoSuchBudget(UserError):
    """No budget of this name holds anything."""


@app.callback(invoke_without_command=True)
def show(context: typer.Context, instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show each budget: its window, how much of it is used, and what waits because it was full.

    What waits is released or discarded by a person, or expires. Exits with 1 if anything waits.

    Examples: `ebbtide budgets`, `ebbtide budgets --json`
    """
    if context.invoked_subcommand is not None:
        return
    found, held = _read(Environment.of(instance))
    if as_json:
        print_json([asdict(each) | {"waiting": _held_json(held.get(each.name))} for each in found])
    else:
        _show(found, held)
    raise typer.Exit(1 if held else 0)


@app.command()
def release(
    name: Name, why: Why, by: By, most: Most = None, instance: Instance = "main", as_json: AsJson = False
) -> None:
    """Let commands go that a budget holds: they are due in two seconds, and count in no window.

    Each is checked as any other before its mail begins. Ctrl-C stops between two transactions; run it again to go on.

    Examples: `ebbtide budgets release trigger/winback --reason "meant so" --by ada`,
    `ebbtide budgets release policy/brake --most 5000 --reason "a first part" --by ada`
    """
    from senders.queue import held_commands

    _change("released", name, why, by, most, instance, as_json, held_commands.release)


@app.command()
def discard(
    name: Name, why: Why, by: By, most: Most = None, instance: Instance = "main", as_json: AsJson = False
) -> None:
    """End commands that a budget holds: they are `suppressed` with the reason `discarded`, and no mail is sent.

    Caps of the rules get their places back. Ctrl-C stops between two transactions; run it again to go on.

    Example: `ebbtide budgets discard trigger/winback --reason "wrong segment" --by ada`
    """
    from senders.queue import held_commands

    def end(connection: "AsyncConnection[Any]", ids: Sequence[str]) -> AsyncIterator[int]:
        return held_commands.discard(connection, ids, f"budget {name}")

    _change("discarded", name, why, by, most, instance, as_json, end)


def _change(
    done: str, name: str, why: str, by: str, most: int | None, instance: str, as_json: bool, make: Make
) -> None:
    import asyncio

    who, reason = required(by, "--by"), required(why, "--reason")
    environment = Environment.of(instance)
    _, held = _read(environment)
    if name not in held:
        hint = nearest(name, held)
        raise NoSuchBudget(f"the budget {quoted(name)} holds nothing{hint and f'; {hint}'}")
    before, asked = {"waiting": held[name].count}, {done: most or "all", "reason": reason}
    with audited(environment, who, f"budgets {done}", f"budget {name}", before, asked):
        total = asyncio.run(_run(environment, name, most, make))
    if as_json:
        print_json({"budget": name, done: total, "were_waiting": held[name].count})
    else:
        console.print(f"{counted(total, 'command')} of {name} {done}", markup=False, soft_wrap=True)


async def _run(environment: Environment, name: str, most: int | None, make: Make) -> int:
    import psycopg
    from rich.console import Console

    from cli.step_printer import StepPrinter
    from senders.queue import held_commands, retention

    with psycopg.connect(environment.ledger_url, options="-c timezone=UTC") as first:
        retention.add_partitions(first)  # delivery may not have run for long
    connection = await psycopg.AsyncConnection.connect(
        environment.ledger_url, autocommit=True, options="-c timezone=UTC -c lock_timeout=20s"
    )
    async with connection:
        ids, total = await held_commands.find(connection, name, most), 0
        with StepPrinter(Console(stderr=True)).step(name, len(ids)) as step:
            async for count in make(connection, ids):
                total += count
                step.at(total)
    return total


def _read(environment: Environment) -> "tuple[list[BudgetStatus], dict[str, HeldCommands]]":
    import asyncio

    import psycopg

    from infra.postgres.migrate import CONNECT_S, require_migrated
    from senders.queue import held_commands

    async def read() -> "tuple[list[BudgetStatus], dict[str, HeldCommands]]":
        options = "-c timezone=UTC"
        async with await psycopg.AsyncConnection.connect(
            environment.ledger_url, connect_timeout=CONNECT_S, options=options
        ) as connection:
            return await held_commands.budgets(connection), await held_commands.held(connection)

    with require_migrated():
        return asyncio.run(read())


def _held_json(held: "HeldCommands | None") -> dict[str, Any]:
    return {"count": 0} if held is None else {key: value for key, value in asdict(held).items() if key != "name"}


def _show(found: "list[BudgetStatus]", held: "dict[str, HeldCommands]") -> None:
    if not found:
        console.print("no command with a budget came yet")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("budget", "window", "max", "used", "room", "waits", "since", "first expires"):
        table.add_column(title, justify="right" if title in ("max", "used", "waits") else "left")
    for each in found:
        waits = held.get(each.name)
        room = "never" if each.room_at is None else "now" if each.used < each.max else _time(each.room_at)
        since, expires = ("", "") if waits is None else (_time(waits.oldest_at), _time(waits.expires_at))
        numbers = f"{each.max:,}", f"{each.used:,}", room, f"{waits.count if waits else 0:,}"
        table.add_row(each.name, window_words(each.window), *numbers, since, expires)
    console.print(table)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def window_words(window: str) -> str:
    """A window as rules write it."""
    from triggers.measures.shapes import duration_text

    return window if window.startswith("calendar") else duration_text(int(window.removesuffix("ms")))
