"""`ebbtide senders trace`: the next SMTP conversations with a domain, as they happen."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, duration_of, person, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from psycopg import Connection

    from schemas.rules import Control

LONGEST = timedelta(minutes=10)


class AlreadyTraced(UserError):
    """Somebody watches this domain: workers show its conversations to one watcher only."""


class _Replaced(Exception):
    """The latest trace of the domain is not ours."""


def trace(
    domain: Annotated[str, typer.Argument(help="The domain of the recipients.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, max=100, help="End after so many conversations.")] = 3,
    lasts: Annotated[str, typer.Option("--for", help="End after this time, at most 10m.")] = "60s",
    by: Annotated[str, typer.Option(help="Who watches, for the record; default: your login.")] = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Show the next SMTP conversations with a domain, as they happen, on whichever worker they do.

    What stands before the @ of an address is shown as ***, and a mail's content only by its size. That somebody watched
    is recorded on `control`. It ends by itself, and costs delivery nothing afterwards. One person at a time can watch a
    domain. Exits with 1 if there was no conversation.

    Example: `ebbtide senders trace gmail.com --count 5 --for 2m`
    """
    from cli.operations import control

    length = duration_of(lasts, "--for")
    if length > LONGEST:
        raise typer.BadParameter("at most 10m", param_hint="--for")
    environment, scope = Environment.of(instance), control.delivery_scope(f"domain/{domain}")
    ended = 0
    with watching(environment, scope, count, length, person(by, "watches")) as (connection, channel):
        if not as_json:
            console.print(f"traces {domain} for {lasts}, at most {count} conversations; Ctrl-C ends it", markup=False)
        for line in _lines(connection, channel, time.monotonic() + length.total_seconds()):
            _show(line, as_json=as_json)
            ended += bool(line.get("end"))
            if ended >= count:
                break
    if not ended:
        typer.echo(
            f"no conversation with {domain} ended within {lasts}; `ebbtide senders status` shows what it waits for",
            err=True,
        )
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def watching(
    environment: Environment, scope: str, count: int, length: timedelta, by: str
) -> "Iterator[tuple[Connection[Any], str]]":
    """Listens on a new channel, asks the workers to use it, and takes that back at the end unless another replaced it.

    Raises AlreadyTraced while another trace of the scope is in force.
    """
    import psycopg

    from cli.operations import control
    from infra.postgres.migrate import CONNECT_S

    channel = f"ebbtide_trace_{secrets.token_hex(8)}"
    with psycopg.connect(environment.ledger_url, autocommit=True, connect_timeout=CONNECT_S) as connection:
        connection.execute(f"LISTEN {channel}")
        fields: dict[str, Any] = {"paused": False, "by": by, "trace": channel, "most": count}
        made = control.publish_switch(
            environment.kafka, scope, until=datetime.now(UTC) + length, check=_require_unwatched, **fields
        )
        control.audit_switch(environment, made)
        try:
            yield connection, channel
        finally:
            with suppress(_Replaced):
                control.publish_switch(
                    environment.kafka, scope, until=datetime.now(UTC), check=_require_ours(channel), **fields
                )


def _require_unwatched(latest: "Control | None") -> None:
    if latest is not None and latest.in_force(datetime.now(UTC)):
        domain = latest.scope.rpartition("/")[2]
        until = f" until {latest.until:%Y-%m-%d %H:%M:%S} UTC" if latest.until else ""
        raise AlreadyTraced(f"{latest.by or 'somebody'} traces {domain}{until}; try again when that has ended")


def _require_ours(channel: str) -> "Callable[[Control | None], None]":
    def check(latest: "Control | None") -> None:
        if latest is None or latest.trace != channel:
            raise _Replaced

    return check


def _lines(connection: "Connection[Any]", channel: str, until_s: float) -> Iterator[dict[str, Any]]:
    """The lines that workers send until then."""
    while (left_s := until_s - time.monotonic()) > 0:
        for notice in connection.notifies(timeout=left_s, stop_after=1):
            if notice.channel == channel:
                yield from json.loads(notice.payload)


def _show(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(line)
        return
    at, worker = line["at"][11:23], line["conversation"].rsplit("-", 1)[-1]
    console.print(f"{at}  {worker}  {line['line']}", markup=False, soft_wrap=True)


COMMANDS: dict[str, Callable[..., None]] = {"trace": trace}
"""The commands by name."""
