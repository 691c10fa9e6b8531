"""What a plan changes, in words: shown before it is published, and asked where something is removed."""

import getpass
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

By = Annotated[str, typer.Option(help="Who does it, for the record; your login by default.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is removed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Publish nothing; show what would change.")]
_STYLES = {"added": "green", "changed": "yellow", "moved": "yellow", "removed": "red"}
_SET = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")


class ConfirmationMissing(UserError):
    """Nobody is there to be asked whether something is to be removed."""


def set_name(value: str | None) -> str | None:
    """The callback of an option that names a set."""
    if value is not None and not _SET.fullmatch(value):
        raise typer.BadParameter(f"{value!r} cannot name a set; a letter, then up to 127 letters, digits, or _ . : / -")
    return value


def go_on(
    plan: "PublicationPlan", log: "RuleLog", what: str, again: str, *, yes: bool, dry_run: bool, as_json: bool
) -> bool:
    """Shows what changes, and asks where something is removed; whether it is to be published."""
    if not as_json:
        _show_changes(plan, log, what)
    if plan.same or dry_run:
        if as_json:
            print_json(plan_json(plan, None))
        elif plan.same:
            console.print(f"nothing to do: manifest {plan.number} has all of it as it is", soft_wrap=True)
        return False
    if plan.removes and not yes:
        _ask(plan, again, as_json)
    return True


def _ask(plan: "PublicationPlan", again: str, as_json: bool) -> None:
    """Asks a person; raises ConfirmationMissing where there is none to ask."""
    removed = [f"{change.kind} {change.name}" for change in plan.changes if change.what == "removed"]
    shown = ", ".join(removed[:5]) + (f" and {len(removed) - 5} more" if len(removed) > 5 else "")
    if as_json:
        print_json(plan_json(plan, None))
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(
            f"this removes {shown}, and there is no terminal to ask on; to confirm: {again} --yes"
        )
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
        since = "nothing, which is current now"
    console.print(f"{what}, compared with {since}:", markup=False, soft_wrap=True)
    for change in plan.changes:
        line = f"  {SIGNS[change.what]} {change.kind:<9}{change.name:<28} {change.detail}".rstrip()
        console.print(line, style=_STYLES[change.what], markup=False, soft_wrap=True)
    if not plan.same:
        console.print(summary(plan.changes), soft_wrap=True)


def tell_published(plan: "PublicationPlan", number: int, as_json: bool) -> None:
    from schemas.wording import counted

    if as_json:
        print_json(plan_json(plan, number))
        return
    back = f"; `ebbtide rules rollback {plan.number}` goes back" if plan.number else ""
    console.print(f"manifest {number} is current: {counted(len(plan.files), 'file')}{back}", soft_wrap=True)


def plan_json(plan: "PublicationPlan", published: int | None) -> dict[str, Any]:
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


def login() -> str:
    """The login of who runs this; nothing where the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
