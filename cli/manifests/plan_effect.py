"""The effect of a plan: the rules that run and those that are planned, played over the same history."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.backtest.job import BacktestJob, RuleTexts
from cli.backtest.run import BacktestRun, moment, run_backtest
from cli.manifests.budget_forecast import BudgetForecast, budget_forecasts
from cli.manifests.history import RuleLog
from cli.manifests.publication import PublicationPlan
from cli.step_printer import StepPrinter
from schemas.rules import SetFile
from schemas.wording import counted
from triggers.cases.set_comparison import SetComparison

if TYPE_CHECKING:
    from psycopg import Connection

_RECORDED = """
SELECT trigger, count(*), count(DISTINCT user_id) FROM public.decisions
WHERE outcome = 'send' AND time >= %s GROUP BY trigger ORDER BY trigger
"""


@dataclass(frozen=True, slots=True)
class PastFiles:
    """Files of a history: events, and profiles and outcomes if there are any."""

    events: Path
    profiles: Path | None = None
    outcomes: Path | None = None
    names: Mapping[Path, str] = field(default_factory=dict)
    """What messages call a file, if not by its path."""


@dataclass(frozen=True, slots=True)
class RecordedSends:
    """What a trigger really sent in the time of the history."""

    trigger: str
    sends: int
    users: int


@dataclass(frozen=True, slots=True)
class CapPressure:
    """How often a full cap stopped or held a trigger while it counted sends of another, or of the same, by each set."""

    trigger: str
    by: str
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class PlanEffect:
    """Both sets over one history, and what was really sent in that time, where that is known."""

    run: BacktestRun
    job: BacktestJob
    budgets: Sequence[BudgetForecast] = field(default=())
    recorded: Sequence[RecordedSends] = field(default=())

    @property
    def compared(self) -> SetComparison:
        """The running rules beside the planned ones."""
        assert self.run.comparison is not None
        return self.run.comparison

    @property
    def extent(self) -> str:
        """What the history has, in words."""
        extent = self.run.result.extent
        if not extent.events:
            return "a history without events"
        about = f"{counted(extent.events, 'event')} of {counted(self.run.result.users, 'user')}"
        return f"{about}, {moment(extent.first_ms)[:10]} to {moment(extent.last_ms)[:10]}"

    @property
    def pressure(self) -> list[CapPressure]:
        """The cap pressure between triggers, the greatest change first."""
        old, new = self.compared.old.pressure, self.compared.new.pressure
        found = [CapPressure(*key, old[key], new[key]) for key in old.keys() | new.keys()]
        return sorted(found, key=lambda each: (-abs(each.new - each.old), -each.new, each.trigger, each.by))

    def as_json(self) -> dict[str, Any]:
        """The effect as JSON values."""
        result = self.run.result
        return {
            "events": result.extent.events,
            "from": moment(result.extent.first_ms),
            "to": moment(result.extent.last_ms),
            **self.compared.summary(),
            "cap_pressure": [asdict(each) for each in self.pressure],
            "budgets": [{**asdict(each), "exceeded": each.is_exceeded} for each in self.budgets],
            "recorded": [asdict(each) for each in self.recorded],
            "skipped": [str(each) for each in self.run.skipped],
            "notes": result.notes,
        }


def read_effect(
    plan: PublicationPlan,
    log: RuleLog,
    past: PastFiles,
    zone: str,
    printer: StepPrinter,
    recorded: Sequence[RecordedSends] = (),
) -> PlanEffect:
    """Plays the rules that run and the planned ones, each of all sets, over the files. Raises BadLog."""
    sets = _texts(log, log.files()), _texts(RuleLog(plan.texts), plan.files)
    job = BacktestJob(sets, past.events, past.profiles, past.outcomes, zone, names=past.names)
    _, planned = job.evaluators()  # a mistake in the rules is reported before a long log is read
    run = run_backtest(job, printer)
    assert run.comparison is not None
    forecasts = budget_forecasts(planned.rules.triggers.values(), run.comparison.new.daily)
    return PlanEffect(run, job, [*forecasts], recorded)


def _texts(log: RuleLog, files: Sequence[SetFile]) -> RuleTexts:
    """The files as a backtest loads them."""
    templates = {file.name: file.text for file in files if file.kind == "template"}
    return RuleTexts(log.sources(files, "rule", label=True), templates)


def recorded_sends(connection: "Connection[Any]", since: datetime) -> list[RecordedSends]:
    """What was really sent since then, by trigger."""
    return [RecordedSends(*row) for row in connection.execute(_RECORDED, [since])]
