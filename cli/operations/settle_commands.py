"""`ebbtide senders settle`: what a person decides about commands in doubt."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.auditing import audit_words
from cli.environment import Environment
from cli.operations.delivery_switch_commands import By, Why, required
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from senders.queue.settlements import SettledCommand, Settlement


class NoLedger(UserError):
    """The database has no ledger yet."""


class AnsweredMeanwhile(UserError):
    """A command got its answer while it was being settled."""


def settle(
    ids: Annotated[list[str], typer.Argument(help="The commands, by id or Message-ID.", show_default=False)],
    decided: Annotated[str, typer.Option("--as", help="accepted, failed or resend.", show_default=False)],
    why: Why,
    by: By,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Settle commands in doubt: their mails arrived (accepted), did not (failed), or are sent again (resend).

    A mail is in doubt if the answer to it is not known; for most purposes delivery then leaves it alone. A mail sent
    again has the same Message-ID, and is checked as any other before it begins. Each decision is recorded in the table
    `settlements`, and the outcome says who made it. Exits with 1 if one is not in doubt; the others are settled.

    Example: `ebbtide senders settle 3f0c… --as resend --reason "not in their log" --by ada`
    """
    import asyncio

    from senders.content.message import command_id_of
    from senders.queue.settlements import Settlement

    if decided not in list(Settlement):
        raise typer.BadParameter("write accepted, failed or resend", param_hint="--as")
    who, reason = required(by, "--by"), required(why, "--reason")
    environment, wanted = Environment.of(instance), [command_id_of(each) for each in ids]
    found = asyncio.run(_settle(environment, wanted, Settlement(decided), who, reason))
    if as_json:
        print_json([asdict(each) for each in found])
    for each in [] if as_json else found:
        console.print(f"{each.command_id}  {_words(each, decided)}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if all(each.settled for each in found) else EXIT_FAILED)


async def _settle(
    environment: Environment, ids: list[str], decided: "Settlement", by: str, why: str
) -> "list[SettledCommand]":
    import psycopg

    from infra.postgres import audit
    from senders.queue import retention, settlements

    url, words = environment.ledger_url, audit_words(environment)
    try:
        with psycopg.connect(url, options="-c timezone=UTC") as first:
            retention.add_partitions(first)  # delivery may not have run for long
        async with await psycopg.AsyncConnection.connect(url, options="-c timezone=UTC") as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            found = await settlements.settle(connection, ids, decided, by, why, datetime.now(UTC))
            for each in found:
                if each.settled:
                    after = {"settled": decided, "reason": why}
                    change = words.change(
                        by, "senders settle", f"command {each.command_id}", {"state": each.state}, after
                    )
                    await audit.add_async(connection, change)
            return found
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
        raise NoLedger("the database has no ledger yet; `ebbtide migrate` creates it") from None
    except (psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation):  # the latter by the audit
        raise AnsweredMeanwhile(
            "one of the commands got its answer at this moment; nothing is settled, run this again"
        ) from None


def _words(each: "SettledCommand", decided: str) -> str:
    if each.settled:
        return "is sent again" if decided == "resend" else f"is settled as {decided}"
    return "is not in the ledger" if each.state is None else f"is {each.state}, not in doubt; nothing is changed"


COMMANDS: dict[str, Callable[..., None]] = {"settle": settle}
"""The commands by name."""
