"""Shows what a plan changes, and asks for confirmation before anything is removed."""

import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import EXIT_FAILED, console, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from cli.manifests.history import RuleLog
    from cli.manifests.plan_view import PlanView
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
    from cli.manifests.plan_view import PlanView

    view = PlanView(what, plan, log)
    if not as_json:
        show_plan(view)
    if plan.same or dry_run:
        if as_json:
            print_json(view.as_json())
        else:
            say_if_same(plan)
        return False
    if plan.removes and not yes:
        _ask(view, command, as_json)
    return True


def say_if_same(plan: "PublicationPlan") -> None:
    """Says so if there is nothing to publish."""
    if plan.same:
        console.print(f"nothing to do: manifest {plan.number} already has this content", soft_wrap=True)


def _ask(view: "PlanView", command: str, as_json: bool) -> None:
    """Asks for confirmation; raises ConfirmationMissing without a terminal, and Exit if the answer is no."""
    plan = view.plan
    removed = [f"{change.kind} {change.name}" for change in plan.changes if change.what == "removed"]
    shown = ", ".join(removed[:5]) + (f" and {len(removed) - 5} more" if len(removed) > 5 else "")
    if as_json:
        print_json(view.as_json())
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(f"this removes {shown}; without a terminal, confirm it with: {command} --yes")
    if not typer.confirm(f"Remove {shown}?"):
        console.print("nothing was published")
        raise typer.Exit(EXIT_FAILED)


def show_plan(view: "PlanView") -> None:
    """Prints what changes."""
    for line, what in view.lines():
        console.print(line, style=_STYLES.get(what), markup=False, soft_wrap=True)


def print_published(plan: "PublicationPlan", log: "RuleLog", number: int, as_json: bool) -> None:
    """Prints the number of the published manifest, and how to undo it."""
    from cli.manifests.plan_view import PlanView
    from schemas.wording import counted

    if as_json:
        print_json(PlanView("", plan, log).as_json(number))
        return
    back = f"; to undo: `ebbtide rules rollback {plan.number}`" if plan.number else ""
    console.print(f"manifest {number} is current: {counted(len(plan.files), 'file')}{back}", soft_wrap=True)


def moment(at: datetime) -> str:
    """An instant to the second, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
