"""`ebbtide senders check`, `resolve` and `simulate`: what a shaping file says, what is wrong with it, what it does."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import Environment
from cli.operations.bounce_commands import reclassified, show_differences
from cli.options import EXIT_FAILED, AsJson, Format, Instance, Shown, console, duration_of, print_json

ShapingPath = Annotated[
    Path | None,
    typer.Option(
        "--file", envvar="EBBTIDE_SHAPING", help="The shaping file; default: built-in values.", dir_okay=False
    ),
]


def check(
    file: Annotated[Path, typer.Argument(help="The shaping file.", show_default=False)],
    form: Shown = Format.TEXT,
    as_json: AsJson = False,
) -> None:
    """Check a shaping file, and print every mistake as file:line:column.

    Finds also what can never match, what overlaps, and rules without effect. Exits with 1 if delivery would refuse the
    file; warnings do not count.

    Example: `ebbtide senders check shaping.toml`
    """
    from cli.operations import shaping_view

    findings, refused = shaping_view.check(file)
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        shaping_view.show_findings(console, file, findings, form)
    raise typer.Exit(EXIT_FAILED if refused else 0)


def resolve(
    to: Annotated[str, typer.Argument(help="A domain or an address.", show_default=False)],
    mx: Annotated[
        list[str] | None,
        typer.Option("--mx", help="An MX host of the domain; give each. Default: ask the DNS.", show_default=False),
    ] = None,
    source: Annotated[str, typer.Option(help="The source that sends; default: the first of the file.")] = "",
    file: ShapingPath = None,
    as_json: AsJson = False,
    instance: Instance = "main",
) -> None:
    """Show what holds for mails to a domain: the value of each key, the line that says so, and the rules.

    Example: `ebbtide senders resolve gmail.com --file shaping.toml`
    """
    from cli.operations import shaping_view

    found = shaping_view.resolve(file, to, mx or shaping_view.mx_hosts(Environment.of(instance), to), source)
    if as_json:
        print_json(found.as_json())
    else:
        shaping_view.show_resolved(console, found)


def simulate(
    config: Annotated[Path, typer.Option(help="The new shaping file.", show_default=False, dir_okay=False)],
    attempts: Annotated[
        Path | None,
        typer.Argument(
            help="Attempts as JSON lines, by time; default: those of the ledger.",
            show_default=False,
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="How far back the ledger is read, such as 90m, 12h or 7d; default: 1d.", show_default=False),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help="Judge the replies of this time by these rules for bounces too, and show which class would change.",
            show_default=False,
            dir_okay=False,
        ),
    ] = None,
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Run recorded attempts and replies against another shaping file, and show what would differ.

    Shows which rules would trigger, which lanes would have been suspended, held or late, and which limits would bind.
    Nothing changes. The attempts are those of the ledger, or lines such as {"at": "2026-11-29T10:00:00Z",
    "domain": "d.example", "mx": ["mx.d.example"], "source": "one", "trigger": "t", "purpose": "marketing",
    "from_domain": "shop.example", "state": "rcpt", "code": 421, "enhanced": "4.7.0", "text": "Try again"}, of which
    only `at` and `domain` must be there.

    Examples: `ebbtide senders simulate --config new.toml --since 1d`,
    `ebbtide senders simulate attempts.jsonl --config new.toml --file shaping.toml`
    """
    from cli.operations import shaping_simulation

    if attempts is not None and (since or rules):
        raise typer.BadParameter("is about the ledger; leave out the file with attempts", param_hint="--since, --rules")
    environment, classes = Environment.of(instance), None
    if attempts is not None:
        now, new = shaping_simulation.simulate(config, file, attempts)
    else:
        length = duration_of(since or "1d", "--since")
        now, new = shaping_simulation.simulate_recorded(environment, config, file, length)
        classes = None if rules is None else reclassified(environment, rules, length)
    if as_json:
        found = shaping_simulation.as_json(now, new)
        print_json(found | ({} if classes is None else {"classes": [each.as_json() for each in classes.different]}))
    else:
        shaping_simulation.show(console, now, new)
        if classes is not None:
            show_differences(classes)


COMMANDS: dict[str, Callable[..., None]] = {"check": check, "resolve": resolve, "simulate": simulate}
"""The commands of `ebbtide senders` by name."""
