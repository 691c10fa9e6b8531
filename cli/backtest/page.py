"""A backtest as one HTML page with plots. It needs nothing beside it and may run nothing: what it shows is hostile
input."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import IO, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from cli.backtest import plots
from cli.backtest.comparison_tables import samples
from cli.backtest.job import BacktestJob
from cli.backtest.plots import Column, FunnelRow
from cli.backtest.run import BacktestRun, day_text, moment
from cli.whole_file import whole_file
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cases.backtest import BacktestResult
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.set_comparison import ChangeKind
from triggers.engine.gates.table import GATES
from triggers.measures.shapes import MS

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_MOST_COLUMNS = 120
_MOST_CAPS = 20
_MOST_RULES = 200
_CONSENT = (Reason.NO_CONSENT, Reason.PROFILE_UNKNOWN, Reason.USER_PAUSED)
_ENDED = (Reason.CONDITION_ERROR, Reason.EVICTED, Reason.WITHDRAWN)


def opened(file: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    """The file of a page, opened before the work begins, so that a wrong path is told at once; None for None. If the
    block fails, what was there stays."""
    return nullcontext() if file is None else whole_file(file)


def page(run: BacktestRun, job: BacktestJob, title: str = "Backtest", changes: Sequence[str] = ()) -> str:
    """The page under a title, with what changes between both sets line by line, if that is known."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    result, compared = run.result, run.comparison
    old = None if compared is None else compared.old
    return _template().render(
        style=Markup(_STYLE),  # noqa: S704  # a file of ours
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        title=title,
        changes="\n".join(changes),
        samples=[] if compared is None else [*samples(compared)],
        rules=[Path(file.path).name for file in job.sets[-1].files],
        first=moment(result.extent.first_ms)[:10],
        last=moment(result.extent.last_ms)[:10],
        result=result,
        sends=sum(result.sends.values()),
        old=old,
        old_sends=None if old is None else sum(old.sends.values()),
        users=None if compared is None else [(str(kind), compared.users[kind]) for kind in ChangeKind],
        days=plots.day_bars(_columns(result, old)),
        funnel=plots.funnel(list(funnel_rows(result))),
        caps=plots.bars("Full caps", [(f"{rule}: {cap}", count) for (rule, cap), count in _fullest(result)]),
        has_caps=bool(result.caps),
        hours=plots.hour_grid([result.hours[hour] for hour in range(168)]),
        table=list(_rules(result, old)),
        reasons=sorted(result.decisions.items()),
        skipped=[str(each) for each in run.skipped],
    )


def _columns(result: BacktestResult, old: BacktestTally | None) -> list[Column]:
    """The sends of each day, or of each few days if there are too many."""
    new_days, old_days = result.sends_by_day, Counter[int]() if old is None else old.sends_by_day
    days = new_days.keys() | old_days.keys()
    if not days or result.extent.first_ms is None or result.extent.last_ms is None:
        return []
    first, last = result.extent.first_ms // MS["d"], max(result.extent.last_ms // MS["d"], *days)
    each = -(-(last - first + 1) // _MOST_COLUMNS)
    return [
        Column(
            day_text(day),
            sum(new_days[day + more] for more in range(each)),
            None if old is None else sum(old_days[day + more] for more in range(each)),
        )
        for day in range(first, last + 1, each)
    ]


def funnel_rows(tally: BacktestTally) -> Iterator[FunnelRow]:
    """What was asked and stopped at each gate, in their order; then what failed as a message, and what was sent."""
    stopped: Counter[str] = Counter()
    for (_, outcome, reason), count in tally.decisions.items():
        if outcome not in (DecisionOutcome.SEND, DecisionOutcome.GOAL) and reason not in _ENDED:
            stopped[reason] += count
    sent = sum(tally.sends.values())
    asked = sent + sum(stopped.values())
    for gate, definition in GATES.items():
        here = sum(stopped[each] for each in (_CONSENT if definition.reason in _CONSENT else (definition.reason,)))
        yield FunnelRow(str(gate), asked, here)
        asked -= here
    if stopped[Reason.INVALID_DATA]:
        yield FunnelRow("data of the message", asked, stopped[Reason.INVALID_DATA])
    yield FunnelRow("sent", sent, 0)


def _fullest(result: BacktestResult) -> list[tuple[tuple[str, str], int]]:
    return sorted(result.caps.items(), key=lambda each: (-each[1], each[0]))[:_MOST_CAPS]


def _rules(result: BacktestResult, old: BacktestTally | None) -> Iterator[dict[str, Any]]:
    """A row for each rule, those with the most sends first."""
    sends, before = result.sends_by_trigger(), Counter[str]() if old is None else old.sends_by_trigger()
    names = {name for name, _, _ in result.decisions} | set(before)
    weeks = sorted({week for _, week in result.sends})
    for name in sorted(names, key=lambda each: (-sends[each], each))[:_MOST_RULES]:
        yield {
            "name": name,
            "sends": sends[name],
            "old": before[name],
            "users": result.reached_by[name],
            "stopped": sum(
                n for (rule, outcome, _), n in result.decisions.items() if rule == name and outcome == "drop"
            ),
            "line": plots.small_line([result.sends[name, week] for week in weeks]),
        }


@cache
def _template() -> Template:
    loader = FileSystemLoader(_FOLDER)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
