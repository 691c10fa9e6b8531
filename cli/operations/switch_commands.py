"""`ebbtide pause`, `resume` and `switches`: the kill switch on the command line."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json

if TYPE_CHECKING:
    from schemas.rules import Control

PANEL = "Kill switch"

Scope = Annotated[
    str,
    typer.Argument(help="global, trigger/NAME, purpose/NAME, brand/NAME or endpoint/NAME.", show_default=False),
]
By = Annotated[str, typer.Option(help="Who makes the change, for the record.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


def pause(
    scope: Scope,
    by: By = "",
    why: Why = "",
    discard: Annotated[
        bool, typer.Option("--discard", help="End commands that wait for delivery, instead of holding them.")
    ] = False,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Stop sending: everything, one trigger, purpose or brand, or the webhooks to one endpoint.

    Sends that come due during the pause are dropped with the reason `mode`, not kept for later. Commands that were
    decided before wait for `resume`, unless they expire; with --discard they end as `suppressed`, reason `discarded`.
    A mail that has begun is finished. For delivery only, while decisions go on: `ebbtide senders pause`.

    Examples: `ebbtide pause trigger/win-back --by ada`, `ebbtide pause global --discard --reason "wrong prices"`
    """
    from schemas.vocabulary import PauseMode

    _switch(scope, True, by, instance, as_json, why=why, mode=PauseMode.DISCARD if discard else PauseMode.HOLD)


def resume(scope: Scope, by: By = "", instance: Instance = "main", as_json: AsJson = False) -> None:
    """End a pause. Other pauses that cover the same trigger stay. Commands that waited for it are due at once.

    Example: `ebbtide resume trigger/win-back --by ada`
    """
    _switch(scope, False, by, instance, as_json)


def switches(instance: Instance = "main", as_json: AsJson = False) -> None:
    """List the switches: what was paused or resumed, when, by whom and why; those for delivery only too.

    Example: `ebbtide switches`
    """
    from cli.operations import control

    found = control.switches(Environment.of(instance).kafka)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    now = datetime.now(UTC)
    for each in found:
        state = "[red]paused [/]" if each.paused and each.in_force(now) else _state(each, now)
        console.print(f"{state}  ", end="")
        console.print(control.switch_line(each), markup=False, soft_wrap=True)
    paused = sum(each.paused and each.in_force(now) for each in found)
    console.print(f"{paused} paused" if paused else "nothing is paused")


def _state(switch: "Control", now: datetime) -> str:
    if switch.paused:
        return "is over"
    if switch.values:
        return "set    " if switch.in_force(now) else "is over"
    if switch.trace:
        return "traced "
    return "retried" if switch.retry else "running"


def _switch(scope: str, paused: bool, by: str, instance: str, as_json: bool, **more: object) -> None:
    from cli.operations import control

    environment = Environment.of(instance)
    before: list[Control | None] = []
    made = control.switch(environment.kafka, scope, paused=paused, by=by, check=before.append, **more)
    control.audit_switch(environment, made)
    if as_json:
        print_json(made.model_dump(mode="json") | {"in_effect_within_s": control.EFFECT_S})
        return
    console.print(
        f"{done_words(made, before[-1])}: number {made.number}, in effect on every running worker within "
        f"{control.EFFECT_S} s",
        markup=False,
        soft_wrap=True,
    )


def done_words(made: "Control", before: "Control | None") -> str:
    """What a switch did to its scope, whose latest switch was `before`."""
    if made.paused:
        return f"{made.scope} is paused"
    was_paused = before is not None and before.paused and before.in_force(made.at)
    return f"{made.scope} is resumed" if was_paused else f"{made.scope} was not paused; it is resumed all the same"


COMMANDS: dict[str, Callable[..., None]] = {"pause": pause, "resume": resume, "switches": switches}
"""The commands by name, in the order of the help page."""
