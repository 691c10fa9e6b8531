"""The commands for people who write rules. Other modules do the work."""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.environment import SENDERS, Environment
from cli.operations.bounce_commands import Rules as BounceRules
from cli.options import EXIT_FAILED, AsJson, Format, Instance, console, print_json
from cli.rules.new_rule import StarterKind

if TYPE_CHECKING:
    from schemas.decisions import Decision

PANEL = "Rules"

Paths = Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)]
Catalogue = Annotated[
    Path | None,
    typer.Option("--events", help="The event catalogue; default: events.yaml beside the rules.", dir_okay=False),
]

Template = Annotated[
    Path, typer.Argument(help="The template's file, as in mine/templates/welcome.liquid.", show_default=False)
]
UserFile = Annotated[
    Path | None,
    typer.Option("--user", help="A profile, or only its attributes, as JSON; - for standard input.", allow_dash=True),
]
DataFile = Annotated[
    Path | None,
    typer.Option("--data", help="The data of the template, as JSON; default: from a case.", allow_dash=True),
]

EventLog = Annotated[
    Path,
    typer.Option(
        "--events", help="Events as JSON lines; .gz too, or - for standard input.", dir_okay=False, allow_dash=True
    ),
]


def check(
    paths: Paths,
    events: Catalogue = None,
    form: Annotated[Format, typer.Option("--format", help="The output format.")] = Format.TEXT,
    costs: Annotated[bool, typer.Option("--costs", help="Also print costs of expressions, and fast events.")] = False,
) -> None:
    """Check rule files and templates, and print every problem as file:line:column.

    Exits with 1 if there is a problem; warnings and notes do not count. With an event catalogue, events and their
    properties are checked too. A step of --costs takes about a tenth of a microsecond; JSON always has the costs.

    Example: `ebbtide check examples`
    """
    from cli.rules import checking

    checked = checking.check_paths(paths, events)
    checking.show(console, checked, form, costs=costs)
    raise typer.Exit(EXIT_FAILED if checked.wrong else 0)


def run_cases(
    paths: Paths,
    name: Annotated[str, typer.Option("-k", help="Only cases whose name or rule contains this text.")] = "",
    junit: Annotated[Path | None, typer.Option(help="Also write the results as JUnit XML.", dir_okay=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Run again when a file changes, until Ctrl-C.")] = False,
) -> None:
    """Run the cases of the rule files on a virtual clock, and render the mails that they send.

    Example: `ebbtide test examples -k cart`
    """
    from cli.rules import case_runs

    def run() -> bool:
        tested = case_runs.run_paths(paths, name)
        if junit is not None:
            case_runs.write_junit(tested.cases, junit)
        return case_runs.show(console, tested)

    if watch:
        case_runs.watch(console, paths, run)
    else:
        raise typer.Exit(EXIT_FAILED if run() else 0)


def backtest(
    paths: Paths,
    events: EventLog,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line for each decision, then the summary.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that is not an event.")] = False,
) -> None:
    """Run the rules over a log of past events, and show what they would have sent.

    An event is a line such as {"id": "1", "user_id": "u1", "type": "cart_updated", "time": "2026-05-01T10:00:00Z",
    "properties": {"cart_id": "c1"}}. Lines that are not events are skipped and counted by kind. Exits with 2 if no line
    is an event, or with --strict at the first line that is not one.

    Example: `ebbtide backtest examples --events log.jsonl`
    """
    from cli.rules import backtesting
    from cli.rules.event_log import LogReader
    from cli.rules.rule_folder import read_folder
    from cli.step_printer import StepPrinter
    from schemas.codec import encode
    from triggers.cases.timelines import Timelines

    def print_decision(decision: "Decision") -> None:
        sys.stdout.write(encode(decision).decode() + "\n")

    folder = read_folder(*paths)
    for warning in folder.passed_over:
        typer.echo(str(warning), err=True)
    timelines = Timelines(folder.load())  # a mistake in the rules is reported before a long log is read
    printer = StepPrinter(Console(stderr=True))
    with printer.step(f"read {events}") as step:
        reader = LogReader(events, strict)
        timelines.read(reader.events(step.at))
    with printer.step("backtest", timelines.events) as step:
        tested = backtesting.run_backtest(timelines, step.at, print_decision if as_json else None)
    tested.result.notes.extend(backtesting.note_beside(reader.beside))
    tested.skipped.extend(reader.skipped.values())
    if as_json:
        print_json({"summary": tested.summary()})
    else:
        backtesting.show_backtest(console, tested)


def new(
    name: Annotated[str, typer.Argument(help="The new rule's name.", show_default=False)],
    like: Annotated[StarterKind, typer.Option(help="The kind of rule to start from.", show_default=False)],
    folder: Annotated[Path, typer.Option("--in", help="The folder of your rules.", file_okay=False)] = Path(),
) -> None:
    """Start a rule: a file with comments and cases, and the templates that it sends.

    The new files pass `check` and `test`. No file is overwritten.

    Example: `ebbtide new left-cart --like cart-abandonment --in mine`
    """
    from cli.rules.new_rule import write_rule

    for file in write_rule(name, like, folder):
        console.print(f"wrote {file}", markup=False, soft_wrap=True)
    console.print(f"next: ebbtide check {folder} && ebbtide test {folder} -k {name}", markup=False, soft_wrap=True)


def schema(
    what: Annotated[
        str, typer.Argument(help="`trigger` for the schema of rule files, or a folder for those of the topics.")
    ] = "build/schemas",
    out: Annotated[
        Path | None, typer.Option(help="Write the schema of rule files to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Write the JSON Schema of rule files, for editors, or of every model on a topic.

    Example: `ebbtide schema trigger --out rules.schema.json`
    """
    if what != "trigger":
        if "/" not in what and get_close_matches(what, ["trigger"], cutoff=0.75):
            raise typer.BadParameter("did you mean `trigger`? Write a folder of that name as ./NAME")
        from cli.pages.json_schema import write_schemas

        for file in write_schemas(Path(what)):
            console.print(str(file), soft_wrap=True)
        return
    from cli.rules.rule_schema import HINT, write_rule_schema

    if out is None:
        write_rule_schema(sys.stdout)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as written:
        write_rule_schema(written)
    console.print(f"begin a rule file with: {HINT}{out}", markup=False, soft_wrap=True)


def docs(
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the page is stale.")] = False,
) -> None:
    """Write docs/triggers.md from its source and the language's declared keys, in a checkout of Ebbtide.

    Example: `ebbtide docs --check`
    """
    from cli.pages import language_page

    if not only_check:
        console.print(f"wrote {language_page.write_page(Path())}", soft_wrap=True)
        return
    try:
        language_page.check_page(Path())
    except language_page.StalePage as error:
        console.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED) from None


def preview(
    template: Template,
    user: UserFile = None,
    data: DataFile = None,
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Render a template for a user, and print subject and text.

    Without --data, the data comes from the first case in the rules beside it that sends the template.

    Example: `ebbtide preview examples/templates/thank-you.liquid --html thank-you.html`
    """
    from cli.rules import preview as previewing

    sample = previewing.sample_for(template, user, data)
    content = previewing.render(template, sample)
    if as_json:
        print_json(previewing.as_json(content))
    else:
        previewing.show(console, content, sample)
    if html is not None:
        html.write_text(content.html, encoding="utf-8")


def send_test(
    template: Template,
    to: Annotated[str, typer.Option(help="The recipient's address.", show_default=False)],
    user: UserFile = None,
    data: DataFile = None,
    instance: Instance = "main",
) -> None:
    """Render a template and mail it through the configured SMTP server; default: the local sink.

    It refuses a server outside this machine unless EBBTIDE_ALLOW_REAL_MAIL is set. Exits with 1 if the server refuses
    the mail.

    Example: `ebbtide send-test examples/templates/thank-you.liquid --to you@shop.example`
    """
    from cli.rules import sample_mail
    from cli.rules.preview import sample_for

    sample = sample_for(template, user, data)
    server, result = sample_mail.send_test(Environment.of(instance), template, to, sample)
    console.print(sample_mail.result_words(server, result), markup=False, soft_wrap=True)
    raise typer.Exit(0 if sample_mail.accepted(result) else EXIT_FAILED)


def explain(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="The user's id.", show_default=False)] = None,
    trigger: Annotated[str | None, typer.Option(help="Only decisions of this rule.", show_default=False)] = None,
    last: Annotated[int, typer.Option("-n", "--last", min=1, max=1000, help="Explain at most this many.")] = 5,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Read decisions from this file of JSON lines instead of the database.", exists=True, dir_okay=False
        ),
    ] = None,
    as_json: AsJson = False,
    instance: Instance = "main",
) -> None:
    """Explain a user's last decisions gate by gate, what delivery answered, and whether each can be recomputed.

    Exits with 1 if there is no decision, or if one does not follow from its stored values. `ebbtide explain command ID`
    explains one mail.

    Example: `ebbtide explain --user u1 --trigger cart-abandoned`
    """
    if context.invoked_subcommand is not None:
        return
    if user is None:
        raise typer.BadParameter("give the user's id, or `command ID`", param_hint="--user")
    from cli.rules import explain as explaining

    if file is not None:
        found = explaining.from_file(file, user, trigger, last)
    else:
        environment = Environment.of(instance)
        found = explaining.from_database(environment.ledger_url, environment.database_url, user, trigger, last)
    if as_json:
        print_json(explaining.as_json(found))
    elif found:
        explaining.show(console, found)
    else:
        of = f" of {trigger}" if trigger else ""
        console.print(f"no decision{of} about {user}: nothing that concerns them reached a gate", markup=False)
    raise typer.Exit(EXIT_FAILED if not found or not all(each.verification.verified for each in found) else 0)


def explain_command(
    command: Annotated[str, typer.Argument(metavar="ID", help="The command, by id or Message-ID.")],
    rules: BounceRules = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Explain one mail: each attempt with its way, reply, class and rule, and what it waits for, if it waits.

    An attempt shows source, host, addresses, TLS, the reply and which command it answered, and the class of the reply
    with the rule that found it. A mail that waits shows what binds it, observed against limit, and until when; one in
    the memory of a worker is asked for on this machine. Exits with 2 if there is no such command.

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


explain_app = typer.Typer()
explain_app.callback(invoke_without_command=True)(explain)
explain_app.command("command")(explain_command)

COMMANDS: dict[str, Callable[..., None]] = {
    "new": new,
    "check": check,
    "test": run_cases,
    "backtest": backtest,
    "preview": preview,
    "send-test": send_test,
    "schema": schema,
    "docs": docs,
}
"""The commands by name, in the order of the help page."""
