"""`ebbtide apply` and `plan`: publish a folder as a set, or show what that would change."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.environment import Environment
from cli.manifests.plan_text import By, DryRun, Yes, confirm_plan, print_published, set_name
from cli.options import EXIT_FAILED, AsJson, Format, Instance, console, login

if TYPE_CHECKING:
    from cli.manifests.publication import PublicationPlan
    from cli.rules.checking import CheckResult

Paths = Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)]
Catalogue = Annotated[
    Path | None,
    typer.Option("--events", help="The event catalogue; default: events.yaml beside the rules.", dir_okay=False),
]
SetName = Annotated[str, typer.Option("--set", help="The set to publish: one team's rules.", callback=set_name)]
TakeFrom = Annotated[
    str | None,
    typer.Option(
        "--take-from", help="Take over the files that these replace from another set.", metavar="SET", callback=set_name
    ),
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Allow a set without rules: all of its rules are removed.")
]


def apply(
    paths: Paths,
    events: Catalogue = None,
    name: SetName = "default",
    yes: Yes = False,
    dry_run: DryRun = False,
    allow_empty: AllowEmpty = False,
    take_from: TakeFrom = None,
    instance: Instance = "main",
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Publish rules and templates as one set. Running workers use them at once.

    It shows what it adds, changes and removes, and asks before it removes anything: the running occurrences of a
    removed trigger end. Scripts pass --yes. The rules of other sets do not change. If the set has a problem, nothing is
    published, and the current rules stay in force.

    Exits with 1 if it finds a problem or you answer no, with 2 if --yes or --allow-empty is missing.

    Example: `ebbtide apply mine --set shop`
    """
    from cli.manifests.history import read_rules
    from cli.manifests.publication import plan_folder, publish
    from cli.manifests.set_checks import check_among, may_be_valid
    from cli.rules.checking import check_paths

    checked = check_paths(paths, events, may_be_empty=allow_empty)
    if not may_be_valid(checked):
        _refuse(checked, as_json)
    kafka = Environment.of(instance).kafka
    log = read_rules(kafka)
    if take_from is not None:
        log.require_set(take_from, log.files())
    plan = plan_folder(log, checked.folder, name, take_from)
    others = [file for file in plan.files if file.set != name]
    if others:
        checked = check_among(checked, log, others)
    if checked.wrong:
        _refuse(checked, as_json)
    _refuse_empty(plan, name, paths, allow_empty)
    folder = checked.folder
    command = _typed("apply", paths, name, allow_empty=allow_empty, take_from=take_from)
    if not as_json:
        _show_checked(checked)
    if not confirm_plan(plan, log, f"set {name}", command, yes=yes, dry_run=dry_run, as_json=as_json):
        return
    manifest = publish(kafka, lambda now: plan_folder(now, folder, name, take_from), by or login(), log.number)
    print_published(plan, manifest.number, as_json)


def plan_apply(
    paths: Paths,
    events: Catalogue = None,
    name: SetName = "default",
    allow_empty: AllowEmpty = False,
    take_from: TakeFrom = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Show what `apply` would add, change and remove. It publishes nothing.

    Exits with 1 if it finds a problem.

    Example: `ebbtide plan mine --set shop`
    """
    apply(
        paths,
        events,
        name,
        dry_run=True,
        allow_empty=allow_empty,
        take_from=take_from,
        instance=instance,
        as_json=as_json,
    )


def _refuse(checked: "CheckResult", as_json: bool) -> NoReturn:
    """Prints the problems and exits with 1."""
    from cli.rules import checking

    checking.show(console, checked, Format.JSON if as_json else Format.TEXT)
    if not as_json and checked.breaks_other_sets:
        console.print("nothing was published: this set and the other sets do not load together", soft_wrap=True)
    raise typer.Exit(EXIT_FAILED)


def _show_checked(checked: "CheckResult") -> None:
    from cli.rules import checking

    checking.show(console, checked, Format.TEXT)


def _refuse_empty(plan: "PublicationPlan", name: str, paths: list[Path], allowed: bool) -> None:
    """Raises NothingFound for a set without documents, unless `allowed`."""
    from cli.manifests.changes import items
    from cli.manifests.history import RuleLog
    from cli.rules.rule_files import NothingFound

    own = items(RuleLog(plan.texts), [file for file in plan.files if file.set == name])
    if allowed or any(kind != "template" for kind, _ in own):
        return
    removed = sum(change.what == "removed" for change in plan.changes)
    where = ", ".join(map(str, paths))
    if not removed:
        raise NothingFound(f"no rule in {where}: nothing to publish")
    removes = f"this would remove all {removed} rules and templates of the set {name}"
    raise NothingFound(f"no rule in {where}; {removes}. To remove them, add --allow-empty")


def _typed(command: str, paths: list[Path], name: str, *, allow_empty: bool, take_from: str | None) -> str:
    more = [] if name == "default" else ["--set", name]
    more += ["--allow-empty"] * allow_empty + (["--take-from", take_from] if take_from else [])
    return " ".join(["ebbtide", command, *map(str, paths), *more])


COMMANDS: dict[str, Callable[..., None]] = {"plan": plan_apply, "apply": apply}
"""The commands by name, in the order of the help page."""
