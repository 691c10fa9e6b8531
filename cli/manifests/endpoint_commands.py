"""`ebbtide endpoints`: where webhooks go, which endpoints are suspended, and how to end that, audited."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.auditing import audit_words
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, login, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from senders.queue.suspensions import Suspension

T = TypeVar("T")
HELP = "\n\n".join(
    [
        "Endpoints of webhooks: list them, and end a suspension.",
        "Delivery suspends an endpoint whose last calls failed, for longer each time, and one that answers 410 Gone "
        "until you lift that or publish another URL. What waits for it goes out then, unless it has expired.",
        "Examples:",
        "`ebbtide endpoints list`",
        '`ebbtide endpoints lift crm --reason "they are back" --by ada`',
    ]
)
app = typer.Typer(help=HELP, short_help="List endpoints of webhooks, and end a suspension.", no_args_is_help=True)


class EndpointError(UserError):
    """There is no table, or no such endpoint; the message says what to do."""


@app.command("list")
def list_endpoints(instance: Instance = "main", as_json: AsJson = False) -> None:
    """List the published endpoints with their hosts, those that are suspended with the reason, and missing secrets.

    A secret is missing if EBBTIDE_WEBHOOK_SECRETS does not have it on this machine: delivery may have it elsewhere.

    Example: `ebbtide endpoints list`
    """
    from cli.manifests.publication import current_manifest
    from senders.queue import suspensions
    from senders.queue.suspensions import url_hash

    environment = Environment.of(instance)
    secrets = environment.webhook_secrets or set()
    manifest = current_manifest(environment.kafka)
    found = {each.endpoint: each for each in _on_ledger(environment, suspensions.read)}
    for endpoint in sorted(manifest.endpoints if manifest else [], key=lambda each: each.name):
        suspension = found.get(endpoint.name)
        if suspension is not None and suspension.url_hash != url_hash(endpoint.url):
            suspension = None
        missing = [name for name in endpoint.secret_names if name not in secrets]
        if as_json:
            about = {"endpoint": endpoint.name, "host": endpoint.host}
            print_json({**about, "suspended": _as_json(suspension), "missing_secrets": missing})
            continue
        state = "" if suspension is None else f": suspended {_words(suspension)}"
        console.print(f"{endpoint.name} at {endpoint.host}{state}", markup=False, soft_wrap=True)
        for name in missing:
            console.print(f"  no secret {name} in EBBTIDE_WEBHOOK_SECRETS here", markup=False, soft_wrap=True)


@app.command("lift")
def lift_suspension(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.", show_default=False)],
    why: Annotated[str, typer.Option("--reason", help="Why, for the audit.")] = "",
    by: Annotated[str, typer.Option(help="Who makes the change, for the audit; default: your login.")] = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """End the suspension of an endpoint: within some two seconds its webhooks go out again.

    Exits with 1 if it is not suspended.

    Example: `ebbtide endpoints lift crm --reason "they are back" --by ada`
    """
    from infra.postgres import audit
    from senders.queue import suspensions

    environment = Environment.of(instance)
    words = audit_words(environment)

    async def lift(connection: "AsyncConnection[Any]") -> bool:
        before = {each.endpoint: each for each in await suspensions.read(connection)}.get(endpoint)
        lifted = await suspensions.lift(connection, [endpoint])
        if lifted:
            after = {"reason": why}
            change = words.change(by or login(), "endpoints lift", f"endpoint {endpoint}", _as_json(before), after)
            await audit.add_async(connection, change)
        return bool(lifted)

    lifted = _on_ledger(environment, lift)
    if as_json:
        print_json({"endpoint": endpoint, "lifted": lifted})
    elif lifted:
        console.print(f"lifted: {endpoint} gets webhooks again", markup=False)
    if not lifted:
        typer.echo(f"{endpoint} is not suspended; `ebbtide endpoints list` shows which are", err=True)
        raise typer.Exit(EXIT_FAILED)


def _as_json(suspension: "Suspension | None") -> dict[str, Any] | None:
    if suspension is None:
        return None
    return {
        "reason": suspension.reason,
        "times": suspension.times,
        "since": suspension.since.isoformat(),
        "until": suspension.until and suspension.until.isoformat(),
    }


def _words(suspension: "Suspension") -> str:
    until = "for good" if suspension.until is None else f"until {suspension.until:%Y-%m-%d %H:%M:%S} UTC"
    return f"{until}, because of {suspension.reason}; `ebbtide endpoints lift {suspension.endpoint}` ends that"


def _on_ledger(environment: Environment, work: "Callable[[AsyncConnection[Any]], Awaitable[T]]") -> T:
    """What `work` returns, done in one transaction on the ledger."""
    import asyncio

    import psycopg

    async def run() -> T:
        options = "-c timezone=UTC"
        async with await psycopg.AsyncConnection.connect(environment.ledger_url, options=options) as connection:
            return await work(connection)

    try:
        return asyncio.run(run())
    except psycopg.errors.UndefinedTable:
        raise EndpointError("the database has no table of suspensions yet; `ebbtide migrate` creates it") from None
