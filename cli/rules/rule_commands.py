"""The commands for people who write rules. Other modules do the work."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Format, Instance, Shown, console, print_json, say_written
from cli.rules.fact_options import EventFile, InSegments, OccurrenceFile, UserFile
from cli.rules.new_rule import StarterKind
from schemas.wording import closest

PANEL = "Rules"

Paths = Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)]
Catalogue = Annotated[
    Path | None,
    typer.Option("--events", help="The event catalogue; default: events.yaml beside the rules.", dir_okay=False),
]

Template = Annotated[
    Path, typer.Argument(help="The template's file, as in mine/templates/welcome.liquid.", show_default=False)
]
DataFile = Annotated[
    Path | None,
    typer.Option("--data", help="The data of the template, as JSON; default: from a case.", allow_dash=True),
]
BrandName = Annotated[
    str | None,
    typer.Option("--brand", help="A brand of the rules beside the template; default: that of the rule that sends it."),
]


def check(
    paths: Paths,
    events: Catalogue = None,
    form: Shown = Format.TEXT,
    costs: Annotated[bool, typer.Option("--costs", help="Also print costs of expressions, and fast events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check rule files and templates, and print every problem as file:line:column.

    Exits with 1 if there is a problem; warnings and notes do not count. With an event catalogue, events and their
    properties are checked too. A step of --costs takes about a tenth of a microsecond; JSON always has the costs.

    Examples: `ebbtide check examples`, `ebbtide check examples --json`
    """
    from cli.rules import checking

    checked = checking.check_paths(paths, events)
    if as_json:
        print_json(checking.as_json(checked))
    else:
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
            say_written(junit)
        return case_runs.show(console, tested)

    if watch:
        case_runs.watch(console, paths, run)
    else:
        raise typer.Exit(EXIT_FAILED if run() else 0)


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
        str,
        typer.Argument(
            help="`trigger` for the schema of rule files, or a path such as ./schemas for those of the topics."
        ),
    ] = "build/schemas",
    out: Annotated[
        Path | None, typer.Option(help="Write the schema of rule files to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Write the JSON Schema of rule files, for editors, or of every model on a topic.

    Example: `ebbtide schema trigger --out rules.schema.json`
    """
    if what != "trigger":
        if "/" not in what:
            meant = "did you mean `trigger`? " if closest(what, ["trigger"], 0.75) else ""
            raise typer.BadParameter(f"{meant}write `trigger`, or a folder of that name as ./{what}")
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
    """Write docs/triggers.md and infra/dashboards from their sources, in a checkout of Ebbtide.

    Example: `ebbtide docs --check`
    """
    from cli.pages import dashboards, language_page

    if not only_check:
        for path in [language_page.write_page(Path()), *dashboards.write(Path())]:
            console.print(f"wrote {path}", soft_wrap=True)
        return
    try:
        language_page.check_page(Path())
    except language_page.StalePage as error:
        console.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED) from None
    if stale := dashboards.stale(Path()):
        console.print(f"{stale[0]} is not as its source says; `ebbtide docs` writes it", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED)


def preview(
    template: Template,
    user: UserFile = None,
    event: EventFile = None,
    occurrence: OccurrenceFile = None,
    segments: InSegments = None,
    data: DataFile = None,
    brand: BrandName = None,
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Render a template for a user, and print subject and text.

    Without --data, the data comes from the first case in the rules beside it that sends the template, played with the
    given user. With --event, --occurrence or --segment, the rule that sends it computes the data from what is given.

    Example: `ebbtide preview examples/templates/thank-you.liquid --html thank-you.html`, or
    `ebbtide preview mine/templates/cart.liquid --user user.json --event cart.json --segment vip`
    """
    from cli.rules import preview as previewing
    from cli.rules.given_facts import FactFiles, read_facts
    from cli.rules.samples import sample_for

    facts = read_facts(FactFiles(event, user, occurrence, tuple(segments or ())))
    sample = sample_for(template, facts, data, brand)
    content = previewing.render(template, sample)
    if as_json:
        print_json(previewing.as_json(content, sample.brand))
    else:
        previewing.show(console, content, sample)
    if html is not None:
        html.write_text(content.html, encoding="utf-8")
        say_written(html)


def send_test(
    template: Template,
    to: Annotated[str, typer.Option(help="The recipient's address.", show_default=False)],
    user: UserFile = None,
    data: DataFile = None,
    brand: BrandName = None,
    instance: Instance = "main",
) -> None:
    """Render a template and mail it through the configured SMTP server; default: the local sink.

    It refuses a server outside this machine unless EBBTIDE_ALLOW_REAL_MAIL is set. Exits with 1 if the server refuses
    the mail.

    Example: `ebbtide send-test examples/templates/thank-you.liquid --to you@shop.example`
    """
    from cli.rules import sample_mail
    from cli.rules.given_facts import FactFiles, read_facts
    from cli.rules.samples import sample_for

    sample = sample_for(template, read_facts(FactFiles(user=user)), data, brand)
    server, result = sample_mail.send_test(Environment.of(instance), template, to, sample)
    console.print(sample_mail.result_words(server, result), markup=False, soft_wrap=True)
    raise typer.Exit(0 if sample_mail.accepted(result) else EXIT_FAILED)


COMMANDS: dict[str, Callable[..., None]] = {
    "new": new,
    "check": check,
    "test": run_cases,
    "preview": preview,
    "send-test": send_test,
    "schema": schema,
    "docs": docs,
}
"""The commands by name, in the order of the help page."""
