"""Shows what a plan changes, and asks for confirmation before anything is removed."""

import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import EXIT_FAILED, console, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from cli.manifests.history import RuleLog
    from cli.manifests.publication import PublicationPlan

By = Annotated[str, typer.Option(help="Who makes the change, for the record; default: your login.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and publish nothing.")]
_STYLES = {"added": "green", "changed": "yellow", "moved": "yellow", "removed": "red"}
_SET = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")


class ConfirmationMissing(UserError):
    """The change removes something, and there is no terminal to ask for confirmation."""


def set_name(value: str | None) -> str | None:
    """Checks the value of an option that names a set."""
    if value is not None and not _SET.fullmatch(value):
        raise typer.BadParameter(
            f"{value!r} is not a set name; use a letter, then up to 127 letters, digits or _ . : / -"
        )
    return value


def confirm_plan(
    plan: "PublicationPlan", log: "RuleLog", what: str, command: str, *, yes: bool, dry_run: bool, as_json: bool
) -> bool:
    """Shows what changes, and asks before anything is removed; returns whether to publish."""
    if not as_json:
        _show_changes(plan, log, what)
    if plan.same or dry_run:
        if as_json:
            print_json(plan_json(plan, None))
        elif plan.same:
            console.print(f"nothing to do: manifest {plan.number} already has this content", soft_wrap=True)
        return False
    if plan.removes and not yes:
        _ask(plan, command, as_json)
    return True


def _ask(plan: "PublicationPlan", command: str, as_json: bool) -> None:
    """Asks for confirmation; raises ConfirmationMissing without a terminal, and Exit if the answer is no."""
    removed = [f"{change.kind} {change.name}" for change in plan.changes if change.what == "removed"]
    shown = ", ".join(removed[:5]) + (f" and {len(removed) - 5} more" if len(removed) > 5 else "")
    if as_json:
        print_json(plan_json(plan, None))
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(f"this removes {shown}; without a terminal, confirm it with: {command} --yes")
    if not typer.confirm(f"Remove {shown}?"):
        console.print("nothing was published")
        raise typer.Exit(EXIT_FAILED)


def _show_changes(plan: "PublicationPlan", log: "RuleLog", what: str) -> None:
    from cli.manifests.changes import SIGNS, summary

    current = log.current
    if current is not None:
        by = f" by {current.applied_by}" if current.applied_by else ""
        since = f"manifest {current.number} of {moment(current.applied_at)}{by}"
    else:
        since = "nothing: no manifest was published yet"
    console.print(f"{what}, compared with {since}:", markup=False, soft_wrap=True)
    for change in plan.changes:
        line = f"  {SIGNS[change.what]} {change.kind:<9}{change.name:<28} {change.detail}".rstrip()
        console.print(line, style=_STYLES[change.what], markup=False, soft_wrap=True)
    if not plan.same:
        console.print(summary(plan.changes), soft_wrap=True)


def print_published(plan: "PublicationPlan", number: int, as_json: bool) -> None:
    """Prints the number of the published manifest, and how to undo it."""
    from schemas.wording import counted

    if as_json:
        print_json(plan_json(plan, number))
        return
    back = f"; to undo: `ebbtide rules rollback {plan.number}`" if plan.number else ""
    console.print(f"manifest {number} is current: {counted(len(plan.files), 'file')}{back}", soft_wrap=True)


def plan_json(plan: "PublicationPlan", published: int | None) -> dict[str, Any]:
    """The plan as JSON values, with the number of the manifest if it was published."""
    return {
        "current": plan.number or None,
        "changes": [change.as_json() for change in plan.changes],
        "removes": plan.removes,
        "same": plan.same,
        "published": published,
    }


def moment(at: datetime) -> str:
    """An instant to the second, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
