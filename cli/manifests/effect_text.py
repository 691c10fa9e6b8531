"""Shows the effect of a plan: for people on a terminal, and in a comment on a pull request."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from cli.backtest.comparison_tables import print_lines, show_comparison
from cli.columns import aligned
from cli.manifests.plan_effect import PlanEffect
from cli.rules.chart import line
from schemas.wording import counted
from triggers.cases.set_comparison import ChangeKind, SetComparison

_DAYS_WIDTH = 60
"""Characters of the little charts of sends a day."""
_MOST_PAIRS = 20
"""Pairs of triggers whose cap pressure is shown."""


def show_effect(console: Console, effect: PlanEffect) -> None:
    """Prints the effect."""
    console.print(f"\nEffect over {effect.extent}: the running rules (old) and the planned ones (new)", soft_wrap=True)
    show_comparison(console, effect.compared)
    if rows := [*day_rows(effect.compared)]:
        console.print("Sends a day")
        print_lines(console, aligned([("set", "rule", "days"), *rows]))
    if effect.pressure:
        console.print("Full caps: who was stopped or held, and whose sends the cap counted")
        pairs = [(f"{p.old:,}", f"{p.new:,}", p.trigger, p.by) for p in effect.pressure[:_MOST_PAIRS]]
        print_lines(console, aligned([("old", "new", "stopped", "counted"), *pairs], right=(0, 1)))
    if effect.recorded:
        console.print("Really sent in that time")
        sent = [(f"{each.sends:,}", f"{each.users:,}", each.trigger) for each in effect.recorded]
        print_lines(console, aligned([("sends", "users", "rule"), *sent], right=(0, 1)))
    for each in effect.budgets:
        console.print(f"  {each}", style="red" if each.is_exceeded else None, markup=False, soft_wrap=True)
    for text in (*map(str, effect.run.skipped), *effect.run.result.notes):
        console.print(f"  note: {text}", style="dim", markup=False, soft_wrap=True)


def day_rows(compared: SetComparison) -> Iterator[tuple[str, str, str]]:
    """The sends of each day by both sets, of each rule whose days change."""
    days = sorted({day for tally in (compared.old, compared.new) for _, day in tally.daily})
    span = range(days[0], days[-1] + 1) if days else range(0)
    for rule, _, _ in compared.sends():
        old, new = ([tally.daily[rule, day] for day in span] for tally in (compared.old, compared.new))
        if old != new:
            yield "old", rule, line(old, _DAYS_WIDTH, beside=new)
            yield "new", rule, line(new, _DAYS_WIDTH, beside=old)


def markdown(effect: PlanEffect) -> Iterator[str]:
    """The effect as lines of Markdown. Names of rules are its only text of others, and have no special characters."""
    compared, users = effect.compared, effect.compared.users
    yield ""
    yield f"#### Effect over {effect.extent}"
    yield ""
    sends = [(f"`{rule}`", f"{old:,}", f"{new:,}", f"{new - old:+,}") for rule, old, new in compared.sends()]
    yield from _table(("rule", "sends now", "planned", "change"), sends)
    yield ""
    reached = f"{compared.old.reached:,} → {counted(compared.new.reached, 'user')} reached"
    changed = f"{users[ChangeKind.MORE]:,} get more, {users[ChangeKind.FEWER]:,} fewer"
    yield f"{reached}: {changed}, {users[ChangeKind.OTHER]:,} others or at other times."
    yield from _section(
        ("rule", "no send", "now", "planned"),
        [
            (f"`{rule}`", f"{outcome} {reason}".strip(), f"{old:,}", f"{new:,}")
            for rule, outcome, reason, old, new in compared.losses()
            if old != new
        ],
    )
    yield from _section(
        ("stopped by a full cap", "that counted", "now", "planned"),
        [(f"`{p.trigger}`", f"`{p.by}`", f"{p.old:,}", f"{p.new:,}") for p in effect.pressure[:_MOST_PAIRS]],
    )
    for each in effect.budgets:
        yield f"\n{'⚠️ ' if each.is_exceeded else ''}{each}"


def _section(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield ""
        yield from _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
