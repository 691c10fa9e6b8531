"""`ebbtide query`: the named questions of analysts, answered as table, CSV, JSON, plot or picture."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli.analytics.days import day_of
from cli.columns import aligned
from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json

PANEL = "Ask"
DAYS = 30


def query(
    name: Annotated[str | None, typer.Argument(help="The question; without one, all are listed.")] = None,
    since: Annotated[
        str,
        typer.Option(help="The first day, in UTC; default: 30 days before the end; of experiments the first of all."),
    ] = "",
    until: Annotated[str, typer.Option(help="The day after the last; default: tomorrow, so today counts.")] = "",
    trigger: Annotated[str, typer.Option(help="Only these triggers: a name, or a pattern such as 'cart-%'.")] = "%",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of this question, such as price=0.80; repeatable.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")] = False,
    as_json: AsJson = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it in the terminal.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw it into this file.", dir_okay=False)] = None,
    instance: Instance = "main",
) -> None:
    """Answer a named question of analysts (docs/analytics.md); without a name, list them all.

    It reads the views of the schema analytics as the role ebbtide_analyst, which cannot write.

    Example: `ebbtide query funnel --since 2026-03-01 --until 2026-04-01 --trigger cart-abandoned --plot`
    """
    from cli.analytics import answers, charts, pictures, tables
    from cli.analytics.questions import named
    from infra.postgres.migrate import require_migrated

    if name is None:
        _list(as_json=as_json)
        return
    if as_csv + as_json + plot > 1:
        raise typer.BadParameter("choose one of --csv, --json and --plot", param_hint="--csv")
    question = named(name)
    values = {**_period(since, until), "trigger": trigger, **question.values(_pairs(settings or []))}
    with answers.analyst(Environment.of(instance).database_url) as connection, require_migrated():
        if not since:
            values["since"] = answers.first_day(connection, question, values) or values["since"]
        found = answers.ask(connection, question, values)
    if png is not None:
        pictures.write_png(found, question, png)
    if as_json:
        print_json({"question": name, **values, "rows": found.records()})
    elif as_csv:
        sys.stdout.writelines(tables.csv_lines(found))
    else:
        _show(charts.chart(found, question.plot, console.width) if plot else tables.text_lines(found))
        count = len(found.rows)
        note = f"{count} row{'' if count == 1 else 's'}, {values['since']} to before {values['until']}"
        console.print(note if png is None else f"{note}; wrote {png}", style="dim", markup=False, soft_wrap=True)


def _list(*, as_json: bool) -> None:
    from cli.analytics.questions import questions

    found = questions().values()
    if as_json:
        for each in found:
            settings = {setting.name: setting.default for setting in each.settings.values()}
            print_json({"name": each.name, "part": each.part, "asks": each.asks, "settings": settings})
        return
    _show(aligned([(each.name, each.asks) for each in found]))


def _show(lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _period(since: str, until: str) -> dict[str, str]:
    end = day_of(until, "--until") if until else datetime.now(UTC).date() + timedelta(days=1)
    start = day_of(since, "--since") if since else end - timedelta(days=DAYS)
    if start >= end:
        raise typer.BadParameter("must be before --until", param_hint="--since")
    return {"since": start.isoformat(), "until": end.isoformat()}


def _pairs(settings: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in settings]
    for name, sign, _ in pairs:
        if not (name and sign):
            raise typer.BadParameter(f"{name!r} is no NAME=VALUE such as price=0.80", param_hint="--set")
    return {name: value for name, _, value in pairs}
