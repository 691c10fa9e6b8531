"""`ebbtide keys`: the write keys by which backends and pages send events over HTTP, audited."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.auditing import audit_words
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, duration_of, person, print_json
from schemas.errors import UserError
from web.keys.write_key import KeyClass

if TYPE_CHECKING:
    from psycopg import Connection

    from web.keys.key_table import KeyRow

HELP = "\n\n".join(
    [
        "Write keys: who may send events over HTTP, in which source's name, and how many.",
        "A key of class `server` is a secret of one backend service. A key of class `browser` stands in the source of "
        "pages, where everybody reads it: it counts only for calls from the pages of its origins, and may not set what "
        "mail depends on. Of a secret only a hash is kept, so it is shown once, when it is made.",
        "Workers know of a change within two seconds.",
        "Examples:",
        "`ebbtide keys add --class server --source shop-backend`",
        "`ebbtide keys add --class browser --source shop-web --origin https://shop.example --rate 500/s`",
        "`ebbtide keys list`",
        "`ebbtide keys rotate 4f1d2c3b5a69 --for 24h`",
        "`ebbtide keys revoke 4f1d2c3b5a69 --by ada`",
    ]
)

app = typer.Typer(help=HELP, short_help="Make, list, rotate and revoke the keys of HTTP ingest.", no_args_is_help=True)

LONGEST_SOURCE = 256

By = Annotated[str, typer.Option(help="Who makes the change, for the audit; by default your login.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` prints it.", show_default=False)]


class WriteKeyError(UserError):
    """There is no such key, or it has ended; the message says what to do."""


@app.command("add")
def add_key(
    key_class: Annotated[KeyClass, typer.Option("--class", help="Who holds it.", show_default=False)],
    source: Annotated[str, typer.Option(help="Written into each event as its source.", show_default=False)],
    origin: Annotated[
        list[str] | None, typer.Option(help="Of a browser key: the origin of its pages, as https://shop.example.")
    ] = None,
    rate: Annotated[str, typer.Option(help="The limit over all workers, such as 500/s; none by default.")] = "",
    by: By = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Make a key, and print its secret. The secret is kept nowhere and shown this once.

    Example: `ebbtide keys add --class server --source shop-backend --rate 500/s`
    """
    from cli.operations import new_keys
    from web.keys import key_table
    from web.keys.key_table import KeyRow

    origins = _origins(key_class, origin or [])
    row = KeyRow(new_keys.new_id(), key_class, _source(source), origins, _per_second(rate), datetime.now(UTC))
    secret, secret_hash = new_keys.new_secret(key_class)
    with _open(instance) as connection:
        key_table.add(connection, row, secret_hash, person(by))
        _audit(connection, instance, by, "keys add", None, row)
    _print_new(row, secret, as_json=as_json)


@app.command("list")
def list_keys(
    ended: Annotated[bool, typer.Option("--all", help="Also keys that have ended.")] = False,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the keys, the newest first; --json prints one a line.

    Example: `ebbtide keys list --all`
    """
    from cli.operations import key_text
    from web.keys import key_table

    now = datetime.now(UTC)
    with _open(instance) as connection:
        found = [row for row in key_table.all_keys(connection) if ended or row.is_valid(now)]
    if as_json:
        for row in found:
            print_json(key_text.key_json(row, now))
        return
    for line in key_text.table(found, now):
        console.print(line, markup=False, soft_wrap=True)
    if not found:
        console.print("no keys; `ebbtide keys add` makes one", markup=False)


@app.command("show")
def show_key(key_id: KeyId, instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show a key, and who did what to it.

    Example: `ebbtide keys show 4f1d2c3b5a69`
    """
    from cli.operations import key_text
    from web.keys import key_table

    now = datetime.now(UTC)
    with _open(instance) as connection:
        row = _find(connection, key_id)
        changes = key_table.history(connection, row.id)
    if as_json:
        print_json(key_text.key_json(row, now) | {"history": [key_text.change_json(each) for each in changes]})
        return
    for line in key_text.details(row, now, changes):
        console.print(line, markup=False, soft_wrap=True)


@app.command("rotate")
def rotate_key(
    key_id: KeyId,
    lasts: Annotated[str, typer.Option("--for", help="How long the old secret stays valid, such as 24h.")] = "24h",
    by: By = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Make a successor with a new secret, and end the old key after a time. Until then both are valid.

    Example: `ebbtide keys rotate 4f1d2c3b5a69 --for 24h`
    """
    from dataclasses import replace

    from cli.operations import new_keys
    from web.keys import key_table

    overlap, now = duration_of(lasts, "--for"), datetime.now(UTC)
    with _open(instance) as connection:
        old = _valid(connection, key_id, now)
        successor = replace(old, id=new_keys.new_id(), created_at=now, ends_at=None, replaces=old.id)
        secret, secret_hash = new_keys.new_secret(old.key_class)
        key_table.rotate(connection, successor, secret_hash, now + overlap, person(by))
        before, old = old, _find(connection, old.id)
        _audit(connection, instance, by, "keys rotate", before, old)
        _audit(connection, instance, by, "keys add", None, successor)
    _print_new(successor, secret, as_json=as_json)
    if not as_json and old.ends_at is not None:
        console.print(f"{old.id} ends at {old.ends_at:%Y-%m-%d %H:%M:%S} UTC; give its users the new secret until then")


@app.command("revoke")
def revoke_key(key_id: KeyId, by: By = "", instance: Instance = "main", as_json: AsJson = False) -> None:
    """End a key now. Workers refuse its calls within two seconds. Exits with 1 if it has ended already.

    Example: `ebbtide keys revoke 4f1d2c3b5a69 --by ada`
    """
    from cli.operations import key_text
    from web.keys import key_table

    now = datetime.now(UTC)
    with _open(instance) as connection:
        row = _find(connection, key_id)
        if not row.is_valid(now):
            _nothing(f"{row.id} has ended at {row.ends_at:%Y-%m-%d %H:%M:%S} UTC; `ebbtide keys show` says by whom")
        key_table.revoke(connection, row.id, now, person(by))
        ended = _find(connection, row.id)
        _audit(connection, instance, by, "keys revoke", row, ended)
    if as_json:
        print_json(key_text.key_json(ended, now))
    else:
        console.print(f"{row.id} is revoked", markup=False)


@contextmanager
def _open(instance: str) -> "Iterator[Connection[Any]]":
    """One transaction on the database of the instance's keys, which is that of the ledger."""
    import psycopg

    from infra.postgres.migrate import require_migrated

    with require_migrated(), psycopg.connect(Environment.of(instance).ledger_url, options="-c timezone=UTC") as ours:
        yield ours


def _audit(
    connection: "Connection[Any]", instance: str, by: str, what: str, before: "KeyRow | None", after: "KeyRow"
) -> None:
    """Adds a change of a key to the audit. The secret is no part of it."""
    from dataclasses import asdict

    from infra.postgres import audit

    values = None if before is None else asdict(before)
    words = audit_words(Environment.of(instance))
    audit.add(connection, words.change(person(by), what, f"key {after.id}", values, asdict(after)))


def _find(connection: "Connection[Any]", key_id: str) -> "KeyRow":
    from web.keys import key_table

    for row in key_table.all_keys(connection):
        if row.id == key_id:
            return row
    raise WriteKeyError(f"there is no write key {key_id!r}; `ebbtide keys list --all` shows their ids")


def _valid(connection: "Connection[Any]", key_id: str, at: datetime) -> "KeyRow":
    row = _find(connection, key_id)
    if not row.is_valid(at):
        raise WriteKeyError(
            f"write key {row.id} has ended at {row.ends_at:%Y-%m-%d %H:%M:%S} UTC; `ebbtide keys add` makes another"
        )
    return row


def _source(text: str) -> str:
    from schemas.types import has_control

    source = text.strip()
    if not source or len(source) > LONGEST_SOURCE or has_control(source):
        raise typer.BadParameter(f"a name of 1 to {LONGEST_SOURCE} characters on one line", param_hint="--source")
    return source


def _origins(key_class: KeyClass, texts: list[str]) -> tuple[str, ...]:
    from web.keys.origins import origin_of

    if (key_class is KeyClass.BROWSER) != bool(texts):
        what = "a browser key needs the origin of its pages" if not texts else "only a browser key has origins"
        raise typer.BadParameter(what, param_hint="--origin")
    try:
        return tuple(dict.fromkeys(map(origin_of, texts)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--origin") from None


def _per_second(text: str) -> float | None:
    from senders.shaping.quantities import SendRate

    if not text:
        return None
    try:
        rate = SendRate.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rate") from None
    if rate.burst > 1:
        raise typer.BadParameter("max_burst is of limits of delivery; write 500/s", param_hint="--rate")
    return rate.count / rate.period_s


def _print_new(row: "KeyRow", secret: str, *, as_json: bool) -> None:
    from cli.operations import key_text

    if as_json:
        print_json(key_text.key_json(row, row.created_at) | {"secret": secret})
        return
    console.print(f"key     {row.id}  ({row.key_class}, source {row.source})", markup=False, soft_wrap=True)
    console.print(f"secret  {secret}", markup=False, soft_wrap=True, style="bold")
    console.print("The secret is kept nowhere and shown this once.", style="dim")


def _nothing(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_FAILED)
