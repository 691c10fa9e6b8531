"""`ebbtide senders pause`, `drain`, `resume` and `retry-now`: switches for delivery only, while decisions go on."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.environment import Environment
from cli.operations.shaping_commands import ShapingPath
from cli.operations.shaping_names import site_hint, unknown_name
from cli.options import AsJson, Instance, console, duration_of, print_json
from schemas.errors import UserError
from schemas.vocabulary import PauseMode

Scope = Annotated[
    str,
    typer.Argument(
        help="all, trigger/NAME, purpose/NAME, brand/NAME, endpoint/NAME (of webhooks), domain/NAME (of recipients), "
        "or provider/NAME, site/NAME or source/NAME of the shaping file.",
        show_default=False,
    ),
]
RetriedScope = Annotated[
    str,
    typer.Argument(
        help="all, trigger/NAME, purpose/NAME, domain/NAME (of recipients), or provider/NAME, site/NAME or source/NAME "
        "of the shaping file.",
        show_default=False,
    ),
]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.", show_default=False)]
By = Annotated[str, typer.Option(help="Who makes the change, for the record.", show_default=False)]
For = Annotated[str | None, typer.Option("--for", help="End by itself after this time, such as 90s, 30m, 2h or 1d.")]


def pause(
    scope: Scope,
    why: Why,
    by: By,
    lasts: For = None,
    discard: Annotated[bool, typer.Option("--discard", help="End what waits, instead of holding it.")] = False,
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Hold the mails of a scope in delivery: they wait until `resume`, the end of --for, or their own expiry.

    With --discard they end as `suppressed`, reason `discarded`. A mail that has begun is finished. Decisions go on, and
    their commands wait too; to stop these as well, use `ebbtide pause`. The mails of a source go to others of its pool.

    Example: `ebbtide senders pause domain/example.net --for 2h --reason "their servers are down" --by ada`
    """
    if discard and scope.partition("/")[0] in ("source", "site", "provider"):
        raise typer.BadParameter(
            "ends what a scope of the rules or a domain has; those of a source, site or provider can only be held",
            param_hint="--discard",
        )
    mode = PauseMode.DISCARD if discard else PauseMode.HOLD
    _publish(scope, file, why, by, instance, as_json, paused=True, mode=mode, until=_end(lasts))


def drain(
    scope: Scope,
    why: Why,
    by: By,
    lasts: For = None,
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Let the mails of a scope go out that delivery has now, and hold those that come later, as `pause` does.

    Of a source, only those go out that already wait for it in the memory of a worker: the others leave from other
    sources of its pool, and those that come later wait if it has none.

    Examples: `ebbtide senders drain trigger/win-back --reason "new template tomorrow" --by ada`,
    `ebbtide senders drain source/bulk1 --reason "its address is given back" --by ada`
    """
    _publish(scope, file, why, by, instance, as_json, paused=True, mode=PauseMode.DRAIN, until=_end(lasts))


def resume(
    scope: Scope,
    by: By,
    why: Why = "",
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """End a pause or a drain of delivery: what waited for it is due at once. Other pauses of the same mails stay.

    Example: `ebbtide senders resume domain/example.net --by ada`
    """
    _publish(scope, file, why, by, instance, as_json, paused=False)


def retry_now(
    scope: RetriedScope,
    by: By,
    why: Why = "",
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Make the deferred mails of a scope due at once, instead of at their next attempt. It lifts no pause.

    A domain, provider, site or source is that of the last attempt. Mails that wait for a limit are asked again too.

    Examples: `ebbtide senders retry-now purpose/transactional --reason "the relay is back" --by ada`,
    `ebbtide senders retry-now provider/google --by ada`
    """
    _publish(scope, file, why, by, instance, as_json, paused=False, retry=True)


def _publish(scope: str, file: Path | None, why: str, by: str, instance: str, as_json: bool, **fields: Any) -> None:
    from cli.operations import control

    full, environment = control.delivery_scope(scope, retried=fields.get("retry", False)), Environment.of(instance)
    kafka = environment.kafka
    fields |= {"why": required(why, "--reason") if fields["paused"] else why.strip(), "by": required(by, "--by")}
    unknown = _unknown(scope, file)
    if unknown and not _ends_a_switch(kafka, full, **fields):
        raise control.UnknownScope(unknown)
    if (fields["paused"] or fields.get("retry")) and (hint := site_hint(environment.ledger_url, file, scope)):
        typer.echo(hint, err=True)
    made = control.switch(kafka, full, **fields)
    control.audit_switch(environment, made)
    if as_json:
        print_json(made.model_dump(mode="json") | {"in_effect_within_s": control.EFFECT_S})
        return
    console.print(
        f"{control.switch_words(made)}: number {made.number}, in effect on every running delivery worker within "
        f"{control.EFFECT_S} s",
        markup=False,
        soft_wrap=True,
    )


def _unknown(scope: str, file: Path | None) -> str | None:
    """What is wrong with the scope. A shaping file that cannot be read keeps nobody from a switch."""
    try:
        return unknown_name(file, scope)
    except UserError as problem:
        typer.echo(f"{problem.line}; so nobody knows whether it has {scope}", err=True)
        return None


def _ends_a_switch(kafka: str, full: str, *, paused: bool, retry: bool = False, **_: Any) -> bool:
    """Whether this resumes what was paused; the shaping file may have lost its name since."""
    from cli.operations import control

    return not (paused or retry) and any(each.key == full and each.paused for each in control.switches(kafka))


def _end(lasts: str | None) -> datetime | None:
    return None if lasts is None else datetime.now(UTC) + duration_of(lasts, "--for")


def required(text: str, option: str) -> str:
    """The text without blanks around it; raises BadParameter if nothing is left."""
    if not text.strip():
        raise typer.BadParameter("must not be empty: the record keeps it", param_hint=option)
    return text.strip()


COMMANDS: dict[str, Callable[..., None]] = {"pause": pause, "drain": drain, "resume": resume, "retry-now": retry_now}
"""The commands by name, in the order of the help page."""
