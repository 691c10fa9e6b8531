"""`ebbtide senders set` and `unset`: another value for a key of the shaping file, for a while."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import Environment
from cli.operations.delivery_switch_commands import By, Why, required
from cli.operations.shaping_commands import ShapingPath
from cli.operations.shaping_names import site_hint, unknown_name
from cli.options import AsJson, Instance, console, duration_of, print_json
from schemas.errors import UserError

Provider = Annotated[str, typer.Option(help="For a provider of the shaping file.")]
Site = Annotated[str, typer.Option(help="For a site, by its whole name as `resolve` prints it.")]
Source = Annotated[str, typer.Option(help="For a source of the shaping file, wherever it sends to.")]
Trigger = Annotated[str, typer.Option(help="For the mails of a trigger.")]
Purpose = Annotated[str, typer.Option(help="For the mails of a purpose.")]


class WrongSetting(UserError):
    """A key, value or scope that cannot be set."""


def set_value(
    setting: Annotated[str, typer.Argument(metavar="KEY=VALUE", help="A key of shaping.toml.", show_default=False)],
    why: Why,
    by: By,
    lasts: Annotated[
        str, typer.Option("--for", help="It ends by itself after this time, such as 30m or 2h.", show_default=False)
    ],
    provider: Provider = "",
    site: Site = "",
    source: Source = "",
    trigger: Trigger = "",
    purpose: Purpose = "",
    file: ShapingPath = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Give a key of the shaping file another value for a while, on every delivery worker.

    A provider, site or source takes each key of its table, a trigger or purpose `max_message_rate`. The value replaces
    that of the file; beside rules and other people, the strictest value of a key counts. It is recorded, `status` shows
    it, and it ends by itself.

    Examples: `ebbtide senders set max_message_rate=10/s --provider yahoo --for 2h --reason "they defer" --by ada`,
    `ebbtide senders set connection_limit=2 --site mx.shop.example --for 30m --reason "a small server" --by ada`
    """
    key, value = _setting(setting)
    scope = _scope(provider=provider, site=site, source=source, trigger=trigger, purpose=purpose)
    _check(key, value, scope, file)
    until = datetime.now(UTC) + duration_of(lasts, "--for")
    why, by = required(why, "--reason"), required(by, "--by")
    if hint := site_hint(Environment.of(instance).ledger_url, file, scope):
        typer.echo(hint, err=True)
    _publish(scope, {key: value}, until, why, by, instance, as_json)


def unset(
    key: Annotated[str, typer.Argument(help="The key.", show_default=False)],
    by: By,
    why: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    provider: Provider = "",
    site: Site = "",
    source: Source = "",
    trigger: Trigger = "",
    purpose: Purpose = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """End what `set` has set, before its time. The key has the value of the file and of rules again.

    Example: `ebbtide senders unset max_message_rate --provider yahoo --by ada`
    """
    from cli.operations import control

    scope = _scope(provider=provider, site=site, source=source, trigger=trigger, purpose=purpose)
    full, now = f"delivery/{scope}", datetime.now(UTC)
    known = [each for each in control.switches(Environment.of(instance).kafka) if each.values and each.in_force(now)]
    found = next((each for each in known if each.scope == full and key in each.values), None)
    if found is None:
        others = ", ".join(
            sorted(f"{name} for {each.scope.removeprefix('delivery/')}" for each in known for name in each.values)
        )
        raise WrongSetting(f"`{key}` is not set for {scope}; set now: {others or 'nothing'}")
    _publish(scope, found.values, now, why.strip(), required(by, "--by"), instance, as_json)


def _setting(text: str) -> tuple[str, bool | int | str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise typer.BadParameter("write KEY=VALUE, as in max_message_rate=10/s", param_hint="KEY=VALUE")
    if value in ("true", "false"):
        return key, value == "true"
    return key, int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value.strip("\"'")


def _scope(**named: str) -> str:
    """The scope without `delivery/`; exactly one is to be named."""
    given = [f"{kind}/{name.strip()}" for kind, name in named.items() if name.strip()]
    if len(given) != 1:
        options = ", ".join(f"--{kind}" for kind in named)
        raise typer.BadParameter(f"name exactly one of {options}", param_hint="scope")
    return given[0]


def _check(key: str, value: bool | int | str, scope: str, file: Path | None) -> None:
    """Raises WrongSetting if the key cannot be set there, or the file that is known does not have the name."""
    from senders.policy.key_switches import checked_value

    try:
        checked_value(scope.partition("/")[0], key, value)
    except ValueError as problem:
        raise WrongSetting(str(problem)) from None
    if unknown := unknown_name(file, scope):
        raise WrongSetting(unknown)


def _publish(
    scope: str,
    values: dict[str, bool | int | str],
    until: datetime,
    why: str,
    by: str,
    instance: str,
    as_json: bool,
) -> None:
    from cli.operations import control

    environment = Environment.of(instance)
    full = control.delivery_scope(scope)
    made = control.switch(environment.kafka, full, paused=False, by=by, values=values, until=until, why=why)
    control.audit_switch(environment, made)
    if as_json:
        print_json(made.model_dump(mode="json") | {"in_effect_within_s": control.EFFECT_S})
        return
    words = f"{control.switch_words(made)}: number {made.number}, in effect on every running delivery worker within"
    console.print(f"{words} {control.EFFECT_S} s", markup=False, soft_wrap=True)


COMMANDS: dict[str, Callable[..., None]] = {"set": set_value, "unset": unset}
"""The commands by name."""
