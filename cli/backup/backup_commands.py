"""`ebbtide backup` and `restore`."""

from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.auditing import audited
from cli.environment import Environment
from cli.options import AsJson, Instance, console, login, print_json
from cli.step_printer import StepPrinter

PANEL = "Backups"


class Unanswered(StrEnum):
    """What becomes of commands whose end nobody knows."""

    HOLD = "hold"
    SEND = "send"


def backup(
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder.", file_okay=False, show_default=False)],
    erasures_only: Annotated[
        bool, typer.Option("--erasures-only", help="Only the list of erased people, as keyed hashes.")
    ] = False,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Copy the databases, rules and switches, and where readers stand, into a folder. Workers may run meanwhile.

    The folder has personal data, as the databases do: keep it as safe, and no longer than you must. The keys of
    settings are not in it.

    After an erasure, `--erasures-only` is enough: a restore of an older backup takes the newest list.

    Example: `ebbtide backup --to /backup/2026-11-29`
    """
    from cli.backup import making
    from infra.postgres.migrate import require_migrated

    with require_migrated():
        only = "erasures" if erasures_only else None
        manifest = making.make(Environment.of(instance), to, StepPrinter(Console(stderr=True)), only=only)
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    tables = sum(len(each.tables) for each in manifest.databases.values())
    if as_json:
        print_json({"folder": str(to), "made_at": manifest.made_at, "tables": tables, "bytes": size})
    else:
        console.print(f"{to}: {tables} tables, {size:,} bytes", markup=False, soft_wrap=True)


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.", exists=True, file_okay=False)],
    unanswered: Annotated[
        Unanswered,
        typer.Option(help="Commands that did not end: put them in doubt (hold), or let delivery send them (send)."),
    ] = Unanswered.HOLD,
    erasures: Annotated[
        Path | None,
        typer.Option(
            help="A later backup, or one of --erasures-only: whom it lists is erased.", exists=True, file_okay=False
        ),
    ] = None,
    lost_at: Annotated[
        str | None,
        typer.Option(
            help="When delivery stopped, or its database was lost (ISO 8601, or 2h for two hours ago): later commands "
            "are sent as usual, whatever --unanswered says.",
            show_default=False,
        ),
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Restore a backup into new databases. All workers must be stopped.

    What happened since is taken from Kafka: mails that went out are not sent again. Of commands that did not end,
    nobody knows whether their mail had begun when the database was lost, so they are in doubt, and `ebbtide senders
    settle` decides. If delivery was stopped in order before, `--unanswered send` is safe.

    Example: `ebbtide restore /backup/2026-11-29 --lost-at 2026-11-29T14:02:00Z`
    """
    from cli.backup.restoring import Restoration
    from cli.operations.dead_letters import moment
    from cli.operations.publish import now

    environment, lost = Environment.of(instance), moment(lost_at, now())
    restoring = Restoration(environment, folder, StepPrinter(Console(stderr=True)), erasures)
    restoring.check()
    restoring.tables()
    report = restoring.report
    after = {"backup": report.rows_of, "unanswered": unanswered, "lost_at": lost}
    with audited(environment, login() or "unknown", "restore", f"folder {folder.name}", None, after):
        restoring.catch_up(hold=unanswered is Unanswered.HOLD, lost_at=lost)
        restoring.erase()
    if as_json:
        print_json(asdict(report))
        return
    console.print(f"restored {report.tables} tables as of {report.rows_of}", soft_wrap=True)
    console.print(
        f"commands since: {report.ended:,} ended, {report.admitted:,} did not; "
        f"{report.in_doubt:,} in doubt, {report.waiting:,} waiting; erased again: {report.erased:,}",
        soft_wrap=True,
    )


COMMANDS: dict[str, Callable[..., None]] = {"backup": backup, "restore": restore}
"""The commands by name."""
