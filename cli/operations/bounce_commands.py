"""`ebbtide senders classify` and `reclassify`: what bounces say, and what other rules would say of them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json

if TYPE_CHECKING:
    from senders.bounces.recorded_replies import Comparison

Rules = Annotated[
    Path | None,
    typer.Option("--rules", envvar="EBBTIDE_BOUNCE_RULES", help="Rules that are asked before ours.", dir_okay=False),
]


def classify(
    files: Annotated[list[Path], typer.Argument(help="Mails, each a file as it came (.eml), or folders of them.")],
    rules: Rules = None,
    as_json: AsJson = False,
) -> None:
    """Show what returned mails, complaints and automatic answers say, one line a recipient.

    Needs no server, and changes nothing. Exits with 1 if a file cannot be read.

    Example: `ebbtide senders classify bounces/ --json`
    """
    from senders.bounces.classifier import load_classifier
    from senders.bounces.mime import MAX_MAIL
    from senders.bounces.returned_mail import read_returned_mail

    classifier, failed = load_classifier(rules), False
    for file in _mails(files):
        try:
            with file.open("rb") as mail:
                raw = mail.read(MAX_MAIL)
        except OSError as error:
            typer.echo(f"{file}: {error.strerror}", err=True)
            failed = True
            continue
        for finding in read_returned_mail(raw, classifier):
            line = {
                "file": str(file),
                "kind": finding.kind.value,
                "recipient": finding.recipient or None,
                "status": finding.status,
                "class": finding.bounce_class,
                "hard": finding.hard,
                "rule": finding.rule or None,
            }
            if as_json:
                print_json(line)
            else:
                console.print("  ".join(_word(value) for value in line.values()), soft_wrap=True, markup=False)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _mails(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        else:
            yield path


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "hard" if value else "-"
    return str(value or "-")


def reclassify(
    rules: Rules = None,
    days: Annotated[int, typer.Option(min=1, help="How far back recorded replies are read.")] = 7,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Judge recorded refusals and bounces again by other rules, and show what would differ.

    Changes nothing. Replies of the same words are one line, the most frequent first. Exits with 1 if any differs.

    Example: `ebbtide senders reclassify --rules new.toml`
    """
    found = reclassified(Environment.of(instance), rules, timedelta(days=days))
    if as_json:
        for each in found.different:
            print_json(each.as_json())
    else:
        show_differences(found)
    if found.different:
        raise typer.Exit(EXIT_FAILED)


def reclassified(environment: Environment, rules: Path | None, since: timedelta) -> "Comparison":
    """The recorded replies of this time judged by other rules; raises UserError if a database is not migrated."""
    import psycopg

    from infra.postgres.migrate import CONNECT_S, require_migrated
    from senders.bounces.classifier import load_classifier
    from senders.bounces.recorded_replies import differences

    classifier = load_classifier(rules)
    with (
        require_migrated(),
        psycopg.connect(environment.ledger_url, connect_timeout=CONNECT_S) as ledger,
        psycopg.connect(environment.database_url, connect_timeout=CONNECT_S) as database,
    ):
        return differences(ledger, database, classifier, since)


def show_differences(found: "Comparison") -> None:
    """Prints the replies whose class differs, and how many were judged."""
    for line in (each.as_json() for each in found.different):
        before, after = (f"{line[side]} {_word(line[f'{side}_hard'])}" for side in ("was", "now"))
        reply = f"{line['code']} {line['enhanced'] or ''} {line['text']}"
        answered = f" to {line['answered']}" if line["answered"] else ""
        console.print(f"{line['times']:>6}  {before} -> {after}{answered}  {reply}", soft_wrap=True, markup=False)
    different = len(found.different)
    console.print(f"{found.times} replies of {found.kinds} kinds judged again; {different} kinds differ")


COMMANDS: dict[str, Callable[..., None]] = {"classify": classify, "reclassify": reclassify}
