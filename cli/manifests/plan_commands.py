"""`ebbtide plan`: what publishing a folder would change, before anybody publishes it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.environment import Environment
from cli.manifests.apply_commands import AllowEmpty, Paths, SetName, TakeFrom, refuse_set, show_checked
from cli.manifests.effect_options import (
    Events,
    Html,
    Outcomes,
    Profiles,
    Since,
    Zone,
    effect_of,
    history_files,
    write_page,
)
from cli.manifests.plan_exit import CHANGE, NO_CHANGE
from cli.manifests.plan_text import By, say_if_same, show_plan
from cli.options import AsJson, Format, Instance, console, login, print_json

if TYPE_CHECKING:
    from cli.manifests.plan_view import PlanView
    from cli.manifests.preparation import PreparedSet, SetRequest
    from cli.manifests.running import TouchedOccurrences

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Save the plan; `ebbtide apply FILE` publishes exactly that.", dir_okay=False),
]
Shown = Annotated[Format, typer.Option("--format", help="Print text, or Markdown for a pull request on GitHub.")]
LooksAtRunning = Annotated[
    bool,
    typer.Option("--running/--no-running", help="Count the running occurrences that it touches, from their states."),
]


def plan(
    paths: Paths,
    events: Events = None,
    since: Since = None,
    profiles: Profiles = None,
    outcomes: Outcomes = None,
    zone: Zone = "",
    name: SetName = "default",
    allow_empty: AllowEmpty = False,
    take_from: TakeFrom = None,
    html: Html = None,
    out: Out = None,
    running: LooksAtRunning = True,
    form: Shown = Format.TEXT,
    by: By = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Show what `apply` would add, change and remove, value by value, and the running occurrences that it touches.

    It publishes nothing. What says the same in other words is no change. With --out it saves the plan: `apply`
    publishes that file as it was planned, and refuses it once other rules became current.

    With --events or --since it shows the effect: the running rules of all sets and the planned ones, played over the
    same history. Sends by rule and day, users who would get more or fewer, losses by reason, which rules fill the caps
    of others, what budgets would meet, and users to look at. --since reads events, profiles and outcomes from the
    topics, and says what was really sent. --html writes a page with plots.

    Exits with 0 if nothing would change, with 2 if something would, and with 1 for a problem in the rules and for every
    error.

    Example: `ebbtide plan mine --set shop`, `ebbtide plan mine --events log.jsonl`,
    `ebbtide plan mine --out shop.plan --format github`
    """
    from cli.manifests.plan_view import PlanView
    from cli.manifests.preparation import RefusedSet, SetRequest, prepare

    catalogue, past = history_files(events or [], since, profiles, outcomes, zone)
    _check_files(out, html, has_history=past is not None or since is not None)
    environment, request = Environment.of(instance), SetRequest(name, take_from, allow_empty)
    try:
        prepared = prepare(environment.kafka, paths, catalogue, request)
    except RefusedSet as refused:
        refuse_set(refused.checked, form, as_json=as_json)
    if form is Format.TEXT and not as_json:
        show_checked(prepared.checked)
    touched = _touched(environment, prepared) if running else None
    effect = effect_of(environment, prepared, past, since, zone)
    view = PlanView(f"set {name}", prepared.plan, prepared.log, touched, effect)
    if effect is not None and html is not None:
        write_page(html, view, effect)
    if as_json:
        print_json(view.as_json())
    else:
        _show(view, form)
    if out is not None:
        _save(out, prepared, request, by or login())
    raise typer.Exit(NO_CHANGE if prepared.plan.same else CHANGE)


def _check_files(out: Path | None, html: Path | None, *, has_history: bool) -> None:
    """Raises BadParameter or NotAPlan for a file that cannot be written so."""
    from cli.manifests.saved_plan import require_plan_name

    if out is not None:
        require_plan_name(out)
    if html is not None and not has_history:
        raise typer.BadParameter("give a history too, with --events or --since", param_hint="--html")


def _save(out: Path, prepared: "PreparedSet", request: "SetRequest", by: str) -> None:
    from cli.manifests.saved_plan import saved_plan, write_plan

    write_plan(out, saved_plan(prepared.log, prepared.checked.folder, request, datetime.now(UTC), by))
    typer.echo(f"saved: `ebbtide apply {out}` publishes exactly this", err=True)


def _touched(environment: Environment, prepared: "PreparedSet") -> "list[TouchedOccurrences]":
    """What becomes of running occurrences. It reads the states only if a trigger changes."""
    from cli.manifests.changes import items
    from cli.manifests.history import RuleLog
    from cli.manifests.running import read_running, touched, touching
    from cli.step_printer import StepPrinter
    from streams.decisions.evaluate import state_changelog
    from streams.settings import StreamSettings

    plan = prepared.plan
    triggers = touching(plan.changes)
    if not triggers:
        return []
    changelog = state_changelog(StreamSettings().streams_group)
    with StepPrinter(Console(stderr=True)).step("states of running occurrences") as step:
        found = read_running(environment.kafka, changelog, triggers, lambda n: step.at(n, f"{n:,} records read"))
    return [*touched(plan.changes, items(RuleLog(plan.texts), plan.files), found)]


def _show(view: "PlanView", form: Format) -> None:
    from cli.manifests.effect_text import show_effect

    if form is Format.GITHUB:
        for line in view.markdown():
            typer.echo(line)
    else:
        show_plan(view)
        say_if_same(view.plan)
        if view.effect is not None:
            show_effect(console, view.effect)


COMMANDS: dict[str, Callable[..., None]] = {"plan": plan}
"""The commands by name. They end with the statuses of `plan_exit`."""
