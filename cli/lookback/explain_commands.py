"""`ebbtide explain`: why somebody got a mail, or none, and what became of one mail."""

import re
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.environment import SENDERS, Environment
from cli.operations.bounce_commands import Rules as BounceRules
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from schemas.wording import nearest

_MOST = 1000
"""The most decisions that are explained at once."""
_ID = re.compile(r"[0-9a-f]{32}")


User = Annotated[str | None, typer.Option(help="The user's id.", show_default=False)]
OfRule = Annotated[str | None, typer.Option(help="Only decisions of this rule.", show_default=False)]
Last = Annotated[int, typer.Option("-n", "--last", min=1, max=_MOST, help="Explain at most this many.")]
Replay = Annotated[
    bool, typer.Option("--replay", help="Recompute the user's state from the journal, and show the timeline.")
]
Until = Annotated[
    str | None,
    typer.Option(help="With --replay: up to this instant, or to a decision or command by its id.", metavar="TIME|ID"),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        help="Read decisions from this file of JSON lines instead of the database.", exists=True, dir_okay=False
    ),
]


def explain(
    context: typer.Context,
    user: User = None,
    trigger: OfRule = None,
    last: Last = 5,
    replay: Replay = False,
    until: Until = None,
    file: FromFile = None,
    as_json: AsJson = False,
    instance: Instance = "main",
) -> None:
    """Explain a user's last decisions gate by gate, what delivery answered, and whether each can be recomputed.

    With --replay it reads no table: it applies the user's records again in the order of the journal, and shows what
    each changed: scores with a plot, segments, occurrences, every gate of every decision, and outcomes. The timeline
    begins where the last decisions began. It says so where the journal or the rules of that time are no longer kept.

    Exits with 1 if there is no decision, or if one does not follow from its stored values or is recomputed otherwise.
    `ebbtide explain command ID` explains one mail.

    Examples: `ebbtide explain --user u1 --trigger cart-abandoned`,
    `ebbtide explain --user u1 --replay --until 2026-11-28T09:00:00Z`
    """
    if context.invoked_subcommand is not None:
        return
    if user is None:
        raise typer.BadParameter("give the user's id, or `command ID`", param_hint="--user")
    if until is not None and not replay:
        raise typer.BadParameter("use it with --replay", param_hint="--until")
    if replay and file is not None:
        raise typer.BadParameter("it has no events to apply again", param_hint="--file")
    environment = Environment.of(instance)
    if replay:
        end = None if until is None else _until(until)
        _explain_replay(environment, user, end, trigger, last, as_json)
    else:
        _explain_recorded(environment, user, trigger, last, file, as_json)


def _explain_recorded(
    environment: Environment, user: str, trigger: str | None, last: int, file: Path | None, as_json: bool
) -> None:
    """Explains the decisions of the database, or of a file; exits as `explain` does."""
    from cli.rules import explain as explaining

    if file is not None:
        read = explaining.from_file(file, user, trigger, last + 1)
    else:
        read = explaining.from_database(environment.ledger_url, environment.database_url, user, trigger, last + 1)
    found = read[-last:]
    if as_json:
        print_json(explaining.as_json(found))
    elif found:
        explaining.show(console, found)
        if len(read) > last:
            more = min(2 * last, _MOST)
            hint = f"; -n {more} shows up to {more}" if more > last else ""
            console.print(f"earlier decisions are not shown{hint}", style="dim")
    else:
        rules = _rule_names(environment.kafka) if trigger and file is None else None
        console.print(none_words(user, trigger, rules, recorded=file is None), markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_FAILED if not found or not all(each.verification.verified for each in found) else 0)


def none_words(user: str, trigger: str | None, rules: Collection[str] | None, *, recorded: bool) -> str:
    """Why there may be no decision about the user. `rules` are the names of the current ones, if they are known;
    `recorded` decisions come from the database."""
    if trigger and rules is not None and trigger not in rules:
        return f"no rule `{trigger}` in the current rules; {nearest(trigger, rules) or 'there is none'}"
    of = f" of {trigger}" if trigger else ""
    hint = "; is `ebbtide run streams` running? `--replay` shows their records" if recorded else ""
    return f"no decision{of} about {user}: nothing that concerns them reached a gate{hint}"


def _rule_names(kafka: str) -> Collection[str] | None:
    """The names of the current rules; None if none are there, or if Kafka does not answer: decisions do not need it."""
    from confluent_kafka import KafkaException

    from cli.operations.control import running_rules
    from infra.kafka.client import KafkaAway

    try:
        rules = running_rules(kafka)
    except (KafkaAway, KafkaException):
        return None
    return None if rules is None else rules.triggers.keys()


def explain_command(
    command: Annotated[str, typer.Argument(metavar="ID", help="The command, by id or Message-ID.")],
    rules: BounceRules = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Explain one mail: each attempt with its way, reply, class and rule, and what it waits for, if it waits.

    An attempt shows source, host, addresses, TLS, the reply and which command it answered, and the class of the reply
    with the rule that found it. A mail that waits shows what binds it, observed against limit, and until when; what a
    worker on this machine knows of it now comes first. Exits with 2 if there is no such command.

    Examples: `ebbtide explain command 9f2c64a0d6f14c1f8a5b0c7d2e3f4a5b`,
    `ebbtide explain command "<9f2c64a0d6f14c1f8a5b0c7d2e3f4a5b@shop.example>"`
    """
    from cli.operations.worker_status import find
    from cli.rules import command_life

    environment = Environment.of(instance)
    urls = environment.ledger_url, environment.database_url
    life = command_life.read(*urls, command, rules, partial(find, environment, SENDERS))
    if as_json:
        print_json(command_life.as_json(life))
        return
    for line in command_life.lines(life):
        console.print(line, markup=False, soft_wrap=True)


def _until(text: str) -> str | int:
    """An instant in milliseconds, or the id of a decision or a command; raises BadParameter."""
    if _ID.fullmatch(text):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-11-28T09:00:00Z nor the id of a decision or command, "
            "32 hexadecimal digits",
            param_hint="--until",
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _explain_replay(
    environment: Environment, user: str, until: str | int | None, trigger: str | None, last: int, as_json: bool
) -> None:
    from cli.lookback import timeline_text
    from cli.lookback.partition_history import read_history
    from cli.lookback.past_rules import read_past_rules
    from cli.lookback.user_timeline import recompute
    from cli.privacy.people import user_id_of
    from cli.step_printer import StepPrinter

    printer = StepPrinter(Console(stderr=True))
    with printer.step("topics") as step:
        history = read_history(
            environment.kafka, user_id_of(user), lambda topic, number: step.at(number, f"{topic}: {number:,} records")
        )
    rules = read_past_rules(environment.kafka)
    with printer.step("recomputed"):
        timeline = recompute(history, rules, until)
    if as_json:
        print_json(timeline_text.as_json(timeline, rules))
    else:
        timeline_text.show(console, timeline, rules, timeline_text.around(timeline, last, trigger))
    if not timeline.found:
        typer.echo(f"no decision and no command {until} was recomputed; this is the whole timeline", err=True)
    wrong = timeline.differs or not timeline.found or not any(timeline.decisions())
    raise typer.Exit(EXIT_FAILED if wrong else 0)


explain_app = typer.Typer()
explain_app.callback(invoke_without_command=True)(explain)
explain_app.command("command")(explain_command)
