"""`python -m perf.analytics_page`: writes docs/analytics.md from its source, the questions and a seeded database.

The page has every view with its columns, and every question with its SQL, its answer and its plot. A test makes it anew
and compares; `--check` does so here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import Connection

from cli.analytics import pictures
from cli.analytics.answers import analyst, ask
from cli.analytics.charts import chart
from cli.analytics.questions import Question, questions
from cli.analytics.tables import AnswerTable, text_lines
from infra.local.layout import PROJECT_ROOT
from perf.analytics_database import fill, own_server
from perf.programme import Programme

SOURCE = Path("docs/source/analytics.md")
PAGE = Path("docs/analytics.md")
PICTURES = Path("docs/pictures")
_HEAD = (
    "<!-- `python -m perf.analytics_page` writes this from docs/source/analytics.md, the questions in "
    "cli/analytics/questions and a seeded database. Edit those. -->\n\n"
)
_WIDTH = 100
_ROWS = 14
_WHOLE = {"since": "2026-03-02", "until": "2026-05-25"}


@dataclass(frozen=True, slots=True)
class PageExample:
    """What the page asks, beside the whole programme, and whether it shows a picture instead of a plot of text."""

    options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    picture: bool = False


EXAMPLES: dict[str, PageExample] = {
    "sends-by-day": PageExample({"since": "2026-04-27"}, picture=True),
    "sends-by-trigger": PageExample({"since": "2026-04-27"}),
    "funnel": PageExample({"trigger": "cart-abandoned"}),
    "best-hour": PageExample(settings={"zone": "Europe/Berlin"}),
    "experiment-by-day": PageExample({"trigger": "cart-abandoned"}, picture=True),
    "sample-ratio": PageExample({"trigger": "cart-abandoned"}, {"weights": "plain=50,with_photo=50"}),
    "attribution": PageExample(picture=True),
    "deliverability-by-day": PageExample({"since": "2026-04-13", "until": "2026-05-04"}, picture=True),
    "refusals": PageExample({"since": "2026-04-13", "until": "2026-05-04"}),
    "cost": PageExample(settings={"price": "0.95"}),
}


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the page is stale.")] = False,
) -> None:
    """Write docs/analytics.md and its pictures, on a TimescaleDB of its own. Takes half a minute.

    Example: `python -m perf.analytics_page --check`
    """
    with own_server() as url:
        fill(url, Programme())
        text = page(url, PROJECT_ROOT)
        if check:
            if not (PROJECT_ROOT / PAGE).exists() or (PROJECT_ROOT / PAGE).read_text(encoding="utf-8") != text:
                typer.echo(f"{PAGE} is stale; `python -m perf.analytics_page` writes it")
                raise typer.Exit(1)
            return
        (PROJECT_ROOT / PAGE).write_text(text, encoding="utf-8")
        draw(url, PROJECT_ROOT / PICTURES)
    typer.echo(f"wrote {PAGE} and {PICTURES}")


def page(url: str, root: Path) -> str:
    """The whole page, with the answers of a filled database."""
    source = (root / SOURCE).read_text(encoding="utf-8")
    with analyst(url) as connection:
        parts = {"views": _views(connection), "questions": _questions(connection)}
        for name, lines in parts.items():
            source = source.replace(f"<!-- {name} -->\n", "\n".join(lines) + "\n")
    return _HEAD + source


def draw(url: str, folder: Path) -> None:
    """Writes the pictures of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    with analyst(url) as connection:
        for question in questions().values():
            if (example := _example(question)).picture:
                found = ask(connection, question, _values(question, example))
                pictures.write_png(found, question, folder / f"{question.name}.png")


def _views(connection: Connection[Any]) -> Iterator[str]:
    yield from ("| view | what it has | columns |", "| --- | --- | --- |")
    rows = connection.execute(
        """SELECT c.relname, obj_description(c.oid, 'pg_class'),
                  string_agg('`' || a.attname || '`', ', ' ORDER BY a.attnum)
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
           WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind = 'v' GROUP BY c.relname, c.oid ORDER BY 1"""
    )
    for name, comment, columns in rows:
        yield f"| `{name}` | {comment} | {columns} |"


def _questions(connection: Connection[Any]) -> Iterator[str]:
    number = 0
    for part, some in groupby(questions().values(), key=lambda question: question.part):
        yield from (f"## {part}", "")
        for question in some:
            number += 1
            yield from _section(connection, number, question)


def _section(connection: Connection[Any], number: int, question: Question) -> Iterator[str]:
    example = _example(question)
    found = ask(connection, question, _values(question, example))
    yield from (f"### {number}. {question.asks}", "", question.reads, "", "```", _command(question, example), "```", "")
    for setting in question.settings.values():
        choices = f" ({' or '.join(setting.choices)})" if setting.choices else ""
        yield from (f"Setting `{setting.name}`{choices}: {setting.means}", "")
    if question.method:
        yield from (f"These rows go to `{question.method}` in `cli/analytics/methods.py`:", "")
    yield from ("```sql", question.sql, "```", "", "```", *_table(found), "```", "")
    if example.picture:
        yield from (f"![{question.asks}](pictures/{question.name}.png)", "")
    else:
        yield from ("```", *(line.rstrip() for line in chart(found, question.plot, _WIDTH)), "```", "")


def _table(found: AnswerTable) -> Iterator[str]:
    yield from text_lines(AnswerTable(found.columns, found.rows[:_ROWS]))
    if len(found.rows) > _ROWS:
        yield f"and {len(found.rows) - _ROWS} more rows"


def _command(question: Question, example: PageExample) -> str:
    options = {**_WHOLE, **example.options}
    text = " ".join(f"--{name} {value}" for name, value in options.items())
    return f"ebbtide query {question.name} {text}" + "".join(f" --set {n}={v}" for n, v in example.settings.items())


def _example(question: Question) -> PageExample:
    return EXAMPLES.get(question.name, PageExample())


def _values(question: Question, example: PageExample) -> dict[str, str]:
    return {"trigger": "%", **_WHOLE, **example.options, **question.values(example.settings)}


if __name__ == "__main__":
    typer.run(main)
