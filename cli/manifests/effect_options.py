"""The options of `plan` that name a history, and the effect over it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.environment import Environment
from cli.options import say_written

if TYPE_CHECKING:
    from cli.manifests.plan_effect import PastFiles, PlanEffect
    from cli.manifests.plan_view import PlanView
    from cli.manifests.preparation import PreparedSet
    from cli.step_printer import StepPrinter

Events = Annotated[
    list[Path] | None,
    typer.Option(
        "--events",
        help="A log of past events to play old and new rules over; or the event catalogue, by its name in .yaml.",
        dir_okay=False,
        allow_dash=True,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(help="Play over what the topics have since then: 30d ago, or a day.", metavar="30d|DAY"),
]
Profiles = Annotated[Path | None, typer.Option(help="With a log: profiles, as `backtest` takes them.", dir_okay=False)]
Outcomes = Annotated[Path | None, typer.Option(help="With a log: outcomes, as `backtest` takes them.", dir_okay=False)]
Zone = Annotated[
    str,
    typer.Option(
        help="With a history: the zone of users whose profile has none; default: EBBTIDE_DEFAULT_ZONE.",
        show_default=False,
    ),
]


Html = Annotated[
    Path | None, typer.Option(help="With a history: write a page with plots to this file.", dir_okay=False)
]


def write_page(file: Path, view: "PlanView", effect: "PlanEffect") -> None:
    """Writes a plan and its effect as one page, which needs nothing beside it, and says so."""
    from cli.backtest.page import page

    changes = [line for line, _ in view.lines()]
    file.write_text(page(effect.run, effect.job, f"Plan of {view.what}", changes), encoding="utf-8")
    say_written(file)


def history_files(
    events: list[Path], since: str | None, profiles: Path | None, outcomes: Path | None, zone: str
) -> "tuple[Path | None, PastFiles | None]":
    """The event catalogue and the log among the files; raises BadParameter where options do not fit together."""
    from cli.manifests.plan_effect import PastFiles
    from cli.rules.rule_files import RULE_SUFFIXES
    from schemas.zones import zone_hint, zone_named

    catalogues = [file for file in events if file.suffix in RULE_SUFFIXES]
    logs = [file for file in events if file.suffix not in RULE_SUFFIXES]
    if len(catalogues) > 1 or len(logs) > 1:
        raise typer.BadParameter("give at most one catalogue and one log", param_hint="--events")
    if logs and since is not None:
        raise typer.BadParameter("give either a log or --since", param_hint="--since")
    if (profiles or outcomes) and not logs:
        raise typer.BadParameter("give the log of events too, with --events", param_hint="--profiles")
    if zone and zone_named(zone) is None:
        raise typer.BadParameter(f"unknown time zone {zone!r}; {zone_hint(zone)}", param_hint="--zone")
    past = PastFiles(logs[0], profiles, outcomes) if logs else None
    return catalogues[0] if catalogues else None, past


def effect_of(
    environment: Environment, prepared: "PreparedSet", past: "PastFiles | None", since: str | None, zone: str
) -> "PlanEffect | None":
    """The effect over a log, or over what the topics have; None without a history or a change."""
    from cli.manifests.plan_effect import read_effect
    from cli.step_printer import StepPrinter
    from streams.settings import StreamSettings

    if prepared.plan.same or (past is None and since is None):
        return None
    printer, zone = StepPrinter(Console(stderr=True)), zone or StreamSettings().default_zone
    if past is not None:
        return read_effect(prepared.plan, prepared.log, past, zone, printer)
    return _effect_of_topics(environment, prepared, since or "", zone, printer)


def _effect_of_topics(
    environment: Environment, prepared: "PreparedSet", since: str, zone: str, printer: "StepPrinter"
) -> "PlanEffect":
    from cli.analytics.answers import analyst
    from cli.analytics.days import begin_of
    from cli.manifests.plan_effect import read_effect, recorded_sends
    from cli.manifests.topic_history import write_history
    from cli.scratch_folder import scratch_folder
    from infra.postgres.migrate import require_migrated

    begin = begin_of(since, "--since", datetime.now(UTC))
    with analyst(environment.database_url) as connection, require_migrated():
        recorded = recorded_sends(connection, begin)
    with scratch_folder("ebbtide-plan-") as folder:
        with printer.step("topics") as step:
            past = write_history(
                environment.kafka, folder, begin, lambda topic, n: step.at(n, f"{topic}: {n:,} records")
            )
        return read_effect(prepared.plan, prepared.log, past, zone, printer, recorded)
