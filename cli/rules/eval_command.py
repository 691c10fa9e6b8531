"""`ebbtide eval` on the command line."""

from typing import Annotated

import typer

from cli.options import EXIT_FAILED, AsJson, print_json


def evaluate(
    expression: Annotated[str | None, typer.Argument(help="An expression as in a rule.", show_default=False)] = None,
    event: Annotated[str | None, typer.Option(help="A file with the event as JSON, - for standard input.")] = None,
    user: Annotated[str | None, typer.Option(help="A file with the user's profile as JSON.")] = None,
    cases: Annotated[str | None, typer.Option(help="A file of JSON lines, - for standard input; see above.")] = None,
    as_json: AsJson = False,
) -> None:
    r"""Evaluate an expression as rules do, over `event`, `user` and `now`.

    An event is {"type": "cart_updated", "properties": {"total": 25}}; a profile has its `attributes` likewise.

    Example: `ebbtide eval 'event.total >= 20' --event cart.json`

    With --cases, expressions of strict CEL, one a line: {"expr": "x + 1", "bindings": {"x": 1}} gives {"value": 2} or
    {"error": "…"}, in order. There 1 is an int and 1.0 a double. Other types are read and written as
    {"@uint": 7}, {"@double": "NaN"}, {"@bytes": base64}, {"@timestamp": "2026-05-01T10:00:00Z"}, {"@duration": "90s"},
    {"@type": "int"} and {"@map": \[\[key, value]]}.
    """
    if (expression is None) == (cases is None):
        raise typer.BadParameter("give an expression or --cases FILE", param_hint="EXPRESSION")
    from cli.rules.evaluation import answers, show

    if cases is not None:
        for answer in answers(cases):
            print_json(answer)
    elif not show(str(expression), event, user, as_json):
        raise typer.Exit(EXIT_FAILED)
