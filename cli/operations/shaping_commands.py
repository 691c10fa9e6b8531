"""`ebbtide senders check`, `resolve` and `simulate`: what a shaping file says, what is wrong with it, what it does."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Format, Instance, console, print_json

ShapingPath = Annotated[
    Path | None,
    typer.Option(
        "--file", envvar="EBBTIDE_SHAPING", help="The shaping file; default: built-in values.", dir_okay=False
    ),
]


def check(
    file: Annotated[Path, typer.Argument(help="The shaping file.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="The output format.")] = Format.TEXT,
) -> None:
    """Check a shaping file, and print every mistake as file:line:column.

    Finds also what can never match, what overlaps, and rules without effect. Exits with 1 if delivery would refuse the
    file; warnings do not count.

    Example: `ebbtide senders check shaping.toml`
    """
    from cli.operations import shaping_view

    findings, refused = shaping_view.check(file)
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
    attempts: Annotated[
        Path, typer.Argument(help="Attempts as JSON lines, by time.", show_default=False, exists=True, dir_okay=False)
    ],
    config: Annotated[Path, typer.Option(help="The new shaping file.", show_default=False, dir_okay=False)],
    file: ShapingPath = None,
    as_json: AsJson = False,
) -> None:
    """Run recorded attempts and replies against another shaping file, and show what would differ.

    A line is such as {"at": "2026-11-29T10:00:00Z", "domain": "d.example", "mx": ["mx.d.example"], "source": "one",
    "trigger": "t", "purpose": "marketing", "from_domain": "shop.example", "state": "rcpt", "code": 421,
    "enhanced": "4.7.0", "text": "Try again"}. Only `at` and `domain` must be there.

    Example: `ebbtide senders simulate attempts.jsonl --config new.toml --file shaping.toml`
    """
    from cli.operations import shaping_simulation

    now, new = shaping_simulation.simulate(config, file, attempts)
    if as_json:
        print_json(shaping_simulation.as_json(now, new))
    else:
        shaping_simulation.show(console, now, new)


COMMANDS: dict[str, Callable[..., None]] = {"check": check, "resolve": resolve, "simulate": simulate}
"""The commands of `ebbtide senders` by name."""
