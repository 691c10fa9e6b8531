"""`ebbtide pause`, `resume` and `switches`: the kill switch on the command line."""

from collections.abc import Callable
from typing import Annotated

import typer

from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json

PANEL = "Kill switch"

Scope = Annotated[str, typer.Argument(help="global, trigger/NAME or purpose/NAME.", show_default=False)]
By = Annotated[str, typer.Option(help="Who makes the change, for the record.")]


def pause(scope: Scope, by: By = "", instance: Instance = "main", as_json: AsJson = False) -> None:
    """Stop sending: everything, one trigger or one purpose.

    Sends that come due during the pause are dropped with the reason `mode`, not kept for later. Commands that were
    decided before are still delivered. Example: `ebbtide pause trigger/win-back --by ada`, or `ebbtide pause global`
    """
    _switch(scope, True, by, instance, as_json)


def resume(scope: Scope, by: By = "", instance: Instance = "main", as_json: AsJson = False) -> None:
    """End a pause. Other pauses that cover the same trigger stay.

    Example: `ebbtide resume trigger/win-back --by ada`
    """
    _switch(scope, False, by, instance, as_json)


def switches(instance: Instance = "main", as_json: AsJson = False) -> None:
    """List the switches: what was paused or resumed, when and by whom.

    Example: `ebbtide switches`
    """
    from cli.operations import control

    found = control.switches(Environment.of(instance).kafka)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        state = "[red]paused [/]" if each.paused else "running"
        console.print(f"{state}  {each.at:%Y-%m-%d %H:%M:%S}  {each.number:>4}  ", end="", soft_wrap=True)
        console.print(f"{each.scope}{f'  by {each.by}' if each.by else ''}", markup=False, soft_wrap=True)
    paused = sum(each.paused for each in found)
    console.print(f"{paused} paused" if paused else "nothing is paused")


def _switch(scope: str, paused: bool, by: str, instance: str, as_json: bool) -> None:
    from cli.operations import control

    made = control.switch(Environment.of(instance).kafka, scope, paused=paused, by=by)
    if as_json:
        print_json(made.model_dump(mode="json") | {"in_effect_within_s": control.EFFECT_S})
        return
    did = "paused" if paused else "resumed"
    console.print(
        f"{scope} is {did}: number {made.number}, in effect on every running stream worker within {control.EFFECT_S} s",
        markup=False,
        soft_wrap=True,
    )


COMMANDS: dict[str, Callable[..., None]] = {"pause": pause, "resume": resume, "switches": switches}
"""The commands by name, in the order of the help page."""
