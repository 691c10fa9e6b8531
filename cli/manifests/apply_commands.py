"""`ebbtide apply`: publish a folder as a set, or a saved plan."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.environment import Environment
from cli.manifests.plan_text import By, DryRun, Yes, confirm_plan, print_published, set_name
from cli.options import EXIT_FAILED, AsJson, Format, Instance, console, login, print_json

if TYPE_CHECKING:
    from cli.manifests.preparation import PreparedSet, SetRequest
    from cli.manifests.saved_plan import SavedPlan
    from cli.rules.checking import CheckResult

Paths = Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)]
PathsOrPlan = Annotated[
    list[Path], typer.Argument(help="Rule files, folders of them, or one saved plan.", show_default=False)
]
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


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How to publish: who does it, whether to ask, and what to print."""

    by: str
    yes: bool
    dry_run: bool
    as_json: bool


def apply(
    paths: PathsOrPlan,
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
    """Publish rules and templates as one set, or a saved plan. Running workers use them at once.

    It shows what it adds, changes and removes, and asks before it removes anything: the running occurrences of a
    removed trigger end. Scripts pass --yes. The rules of other sets do not change. If the set has a problem, nothing is
    published, and the current rules stay in force. A file that `ebbtide plan --out` wrote is published as it was
    planned, unless other rules became current since.

    Exits with 1 if it finds a problem or you answer no, with 2 if --yes or --allow-empty is missing or a saved plan is
    outdated.

    Example: `ebbtide apply mine --set shop`, `ebbtide apply shop.plan --yes`
    """
    from cli.manifests.preparation import RefusedSet, SetRequest, prepare
    from cli.manifests.saved_plan import is_plan, read_plan

    environment, request = Environment.of(instance), SetRequest(name, take_from, allow_empty)
    options = ApplyOptions(by or login(), yes, dry_run, as_json)
    if is_plan(paths) and (events is not None or request != SetRequest("default")):
        raise typer.BadParameter("a saved plan knows its set and its options; give it alone", param_hint="PATHS")
    try:
        if is_plan(paths):
            request, prepared = _prepare_saved(environment, read_plan(paths[0]))
            command = f"ebbtide apply {paths[0]}"
        else:
            prepared = prepare(environment.kafka, paths, events, request)
            command = request.command("apply", paths)
    except RefusedSet as refused:
        refuse_set(refused.checked, as_json=as_json)
    if not as_json:
        show_checked(prepared.checked)
    _publish(environment, prepared, request, command, options)


def _prepare_saved(environment: Environment, saved: "SavedPlan") -> "tuple[SetRequest, PreparedSet]":
    """The plan, if the running rules are those that it was made against; raises PlanOutdated or RefusedSet."""
    from cli.manifests.history import read_rules
    from cli.manifests.preparation import SetRequest, prepare_among
    from cli.rules.checking import check_folder

    log = read_rules(environment.kafka)
    saved.require_current(log)
    request = SetRequest(saved.set, saved.take_from, saved.allow_empty)
    return request, prepare_among(log, check_folder(saved.folder(), publishing=True), request)


def _publish(
    environment: Environment, prepared: "PreparedSet", request: "SetRequest", command: str, options: ApplyOptions
) -> None:
    """Asks where it must, and publishes unless the rules moved meanwhile."""
    from cli.manifests.publication import audit_manifest, plan_folder, publish
    from cli.manifests.secret_checks import require_secrets

    require_secrets(prepared.plan, environment.webhook_secrets)
    asked = {"yes": options.yes, "dry_run": options.dry_run, "as_json": options.as_json}
    if not confirm_plan(prepared.plan, prepared.log, f"set {request.name}", command, **asked):
        return
    folder, kafka = prepared.checked.folder, environment.kafka
    manifest = publish(
        kafka, lambda now: plan_folder(now, folder, request.name, request.take_from), options.by, prepared.log.number
    )
    audit_manifest(environment, manifest)
    print_published(prepared.plan, prepared.log, manifest.number, options.as_json)


def refuse_set(checked: "CheckResult", form: Format = Format.TEXT, *, as_json: bool) -> NoReturn:
    """Prints the problems and exits with 1."""
    from cli.rules import checking

    if as_json:
        print_json(checking.as_json(checked))
    else:
        checking.show(console, checked, form)
    if form is Format.TEXT and not as_json and checked.breaks_other_sets:
        console.print("nothing was published: this set and the other sets do not load together", soft_wrap=True)
    raise typer.Exit(EXIT_FAILED)


def show_checked(checked: "CheckResult") -> None:
    """Prints the warnings and notes."""
    from cli.rules import checking

    checking.show(console, checked, Format.TEXT)


COMMANDS: dict[str, Callable[..., None]] = {"apply": apply}
"""The commands by name, in the order of the help page."""
