"""`ebbtide eval` on the command line."""

from typing import Annotated

import typer

from cli.options import EXIT_FAILED, AsJson, print_json
from cli.rules.fact_options import EventFile, InSegments, OccurrenceFile, UserFile


def evaluate(
    expression: Annotated[str | None, typer.Argument(help="An expression as in a rule.", show_default=False)] = None,
    event: EventFile = None,
    user: UserFile = None,
    occurrence: OccurrenceFile = None,
    segments: InSegments = None,
    cases: Annotated[str | None, typer.Option(help="A file of JSON lines, - for standard input; see above.")] = None,
    as_json: AsJson = False,
) -> None:
    r"""Evaluate an expression as rules do, over what the options give.

    An event is {"type": "cart_updated", "properties": {"total": 25}}. A user is written as in a case: {"plan": "team",
    "zone": "Europe/Berlin", "score": {"engagement": 3}, "metric": {"orders": 2}}; a profile as it is published does as
    well. An occurrence is {"key": "c1", "entered_at": "2026-05-01T10:00:00Z", "variant": "a", "event": {…}}.

    Examples: `ebbtide eval 'event.total >= 20' --event cart.json`,
    `ebbtide eval 'event.total >= 20' --event '{"properties": {"total": 25}}'`,
    `ebbtide eval 'score.engagement > 2 && segment.vip' --user user.json --segment vip`

    With --cases, expressions of strict CEL, one a line: {"expr": "x + 1", "bindings": {"x": 1}} gives {"value": 2} or
    {"error": "…"}, in order. There 1 is an int and 1.0 a double. Other types are read and written as
    {"@uint": 7}, {"@double": "NaN"}, {"@bytes": base64}, {"@timestamp": "2026-05-01T10:00:00Z"}, {"@duration": "90s"},
    {"@type": "int"} and {"@map": \[\[key, value]]}.
    """
    if (expression is None) == (cases is None):
        raise typer.BadParameter("give an expression or --cases FILE", param_hint="EXPRESSION")
    from cli.rules.evaluation import answers, show
    from cli.rules.given_facts import FactFiles

    if cases is not None:
        for answer in answers(cases):
            print_json(answer)
    elif not show(str(expression), FactFiles(event, user, occurrence, tuple(segments or ())), as_json):
        raise typer.Exit(EXIT_FAILED)
