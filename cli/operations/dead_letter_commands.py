"""`ebbtide dead-letters`: list, show and replay records that were put aside."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.auditing import audited
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, login, print_json

if TYPE_CHECKING:
    from cli.operations.dead_letters import Selection
    from cli.operations.replay import PlannedReplay
    from schemas.deadletters import DeadLetter

HELP = """List, show and replay records that could not be read or processed.

Examples: `ebbtide dead-letters list`, `ebbtide dead-letters replay --cause rule_error`"""
app = typer.Typer(help=HELP, no_args_is_help=True)

SHOWN = 50
"""Lines of a plan that are printed as text; --json prints all."""

Cause = Annotated[str | None, typer.Option(help="Only letters with this cause, such as not_json.")]
SourceTopic = Annotated[str | None, typer.Option("--topic", help="Only records of this topic.")]
Since = Annotated[str | None, typer.Option(help="Only letters since this time: 2h (ago), or 2026-11-24T18:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Only letters before this time.")]


@app.command("list")
def list_letters(
    instance: Instance = "main",
    cause: Cause = None,
    topic: SourceTopic = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters: the place and cause of each, and the beginning of its value.

    Example: `ebbtide dead-letters list --cause not_json`
    """
    from cli.operations import dead_letters
    from schemas.wording import counted

    found = dead_letters.read_letters(Environment.of(instance).kafka, _selection(cause, topic, since, until))
    if as_json:
        for letter in found.chosen:
            print_json(_letter_json(letter, found.replayed))
        return
    for letter in found.chosen:
        again = "  sent again" if letter.place in found.replayed else ""
        console.print(f"{letter.time:%Y-%m-%d %H:%M:%S}  {letter.place}  {letter.cause}{again}", soft_wrap=True)
        console.print(f"    {letter.detail}", markup=False, soft_wrap=True)
        console.print(f"    {dead_letters.excerpt(letter)}", style="dim", markup=False, soft_wrap=True)
    console.print(counted(len(found.chosen), "dead letter"))


@app.command("show")
def show_letter(
    place: Annotated[str, typer.Argument(help=r"topic\[partition]@offset, as `list` prints it.", show_default=False)],
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Print one dead letter with its original bytes; unprintable characters are escaped.

    Example: `ebbtide dead-letters show 'events[3]@1234'`
    """
    from cli.operations import dead_letters

    selection = dead_letters.Selection(places=frozenset({place}))
    found = dead_letters.read_letters(Environment.of(instance).kafka, selection)
    for letter in found.chosen:
        if as_json:
            print_json(_letter_json(letter, found.replayed))
            continue
        again = "; sent again since" if place in found.replayed else ""
        head = f"{letter.place}  {letter.cause}  put aside by {letter.reader} {letter.time:%Y-%m-%d %H:%M:%S}{again}"
        key, value = dead_letters.whole(letter.original_key()), dead_letters.whole(letter.original_value())
        for line in (head, letter.detail, f"key    {key}", f"value  {value}"):
            console.print(line, markup=False, soft_wrap=True)
    if not found.chosen:
        _nothing(f"no dead letter of {place}; `ebbtide dead-letters list` shows all")


@app.command("replay")
def replay_letters(
    instance: Instance = "main",
    cause: Cause = None,
    topic: SourceTopic = None,
    since: Since = None,
    until: Until = None,
    place: Annotated[list[str] | None, typer.Option(help=r"Only topic\[partition]@offset; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most this many, oldest first.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were replayed before.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also letters that cannot be read or have no effect.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, with their original key and bytes, after you fixed the cause.

    All rules process them as usual: an event id that is still remembered changes nothing, and `max_age` applies. Each
    letter is sent once, even if this runs twice. Letters that would have no effect or do harm are skipped, with the
    reason. Exits with 1 if no letter matches or you answer no.

    Example: `ebbtide dead-letters replay --cause misrouted --since 2h --dry-run`
    """
    from cli.operations import replay
    from cli.operations.exclusive_writer import ExclusiveWriter
    from cli.step_printer import StepPrinter
    from schemas.wording import counted

    environment = Environment.of(instance)
    kafka = environment.kafka
    request = replay.ReplayRequest(_selection(cause, topic, since, until, place), limit, again, force)
    with ExitStack() as stack:
        writer = None if dry_run else stack.enter_context(ExclusiveWriter(kafka, replay.WRITER))
        planned = replay.plan(kafka, request)
        if not planned:
            _nothing("no dead letter matches; `ebbtide dead-letters list` shows all")
        if not as_json:
            _show_plan(planned)
        count = sum(each.skipped is None for each in planned)
        if writer is not None and count:
            if not yes and not typer.confirm(f"Send {counted(count, 'record')} again?", err=True):
                raise typer.Exit(EXIT_FAILED)
            after = {"records": count, "cause": cause, "topic": topic, "again": again, "force": force}
            with (
                audited(environment, login() or "unknown", "dead-letters replay", f"{count} records", None, after),
                StepPrinter(Console(stderr=True)).step("sending again", count) as step,
            ):
                replay.send(writer, planned, step.at)
    skipped = len(planned) - count
    if as_json:
        print_json({"sent": 0 if dry_run else count, "skipped": skipped, "records": [_plan_json(p) for p in planned]})
    else:
        console.print(f"{'would send' if dry_run else 'sent'} {count} again, {skipped} skipped")


def _selection(
    cause: str | None, topic: str | None, since: str | None, until: str | None, places: list[str] | None = None
) -> "Selection":
    from cli.operations import dead_letters
    from cli.operations.publish import now

    return dead_letters.Selection(
        dead_letters.cause_named(cause),
        topic,
        dead_letters.moment(since, now()),
        dead_letters.moment(until, now()),
        frozenset(places or ()),
    )


def _letter_json(letter: "DeadLetter", replayed: set[str]) -> dict[str, Any]:
    return {"place": letter.place, "replayed": letter.place in replayed} | letter.model_dump(mode="json")


def _show_plan(planned: "list[PlannedReplay]") -> None:
    for each in planned[:SHOWN]:
        does = "send" if each.skipped is None else f"skip: {each.skipped}"
        console.print(f"{each.letter.place}  {each.letter.cause}  {does}", markup=False, soft_wrap=True)
    if len(planned) > SHOWN:
        console.print(f"… and {len(planned) - SHOWN} more; --json lists all")


def _plan_json(planned: "PlannedReplay") -> dict[str, Any]:
    return {"place": planned.letter.place, "cause": planned.letter.cause, "skipped": planned.skipped}


def _nothing(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_FAILED)
