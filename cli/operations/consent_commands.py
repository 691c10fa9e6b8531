"""`ebbtide consent`: prove what a user agreed to, and verify that the ledger of consent is what was signed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from cli.owner_files import write_for_owner
from cli.step_printer import StepPrinter
from schemas.errors import UserError
from schemas.wording import counted

if TYPE_CHECKING:
    from psycopg import Connection

    from web.consent.entries import ConsentChange
    from web.consent.signed_heads import HeadKeys, SignedHead

HELP = "\n\n".join(
    [
        "The ledger of consent: each consent given or taken back, chained, in Merkle trees with heads signed hourly.",
        "A proof can be checked without a server, with the public key alone. Keep heads elsewhere, now and then: a "
        "later `verify --against` shows whether anything before them was changed since.",
        "Examples:",
        "`ebbtide consent prove ann --out ann.json`",
        "`ebbtide consent verify`",
        "`ebbtide consent verify --proof ann.json --key 6a0d…`",
        "`ebbtide consent heads --json > heads.jsonl`",
        "`ebbtide consent verify --against heads.jsonl`",
    ]
)

app = typer.Typer(help=HELP, short_help="Prove consents, and verify their ledger.", no_args_is_help=True)

PublicKeys = Annotated[
    list[str] | None,
    typer.Option("--key", help="A public key that signed heads, as `heads` prints it; repeatable.", show_default=False),
]


class ConsentError(UserError):
    """A proof, a head or a key cannot be read, or the ledger is broken; the message says what to do."""


@app.command("prove")
def prove_consent(
    user: Annotated[str, typer.Argument(help="The user's id.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Write the proof to this file.", dir_okay=False)] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            help="Heads kept before: also prove that the ledger only grew since.", dir_okay=False, exists=True
        ),
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Print the consents of a user, with the proof that each is in the latest signed head.

    The proof (--json, or --out FILE) is checked by `ebbtide consent verify --proof FILE`, without a server. A consent
    of the last hour may have no head yet. Exits with 1 if the ledger has nothing of the user, or the user was erased.

    Example: `ebbtide consent prove ann --out ann.json`
    """
    from web.consent import proofs

    with _snapshot(instance) as connection:
        try:
            proof = proofs.prove(connection, user, _heads_of(since) if since else ())
        except proofs.BrokenLedger as error:
            raise ConsentError(f"{error}; `ebbtide consent verify` shows where") from None
    if proof is None:
        typer.echo(f"the ledger of consent has nothing of {user}, or nothing that can be read any more", err=True)
        raise typer.Exit(EXIT_FAILED)
    document = proof.as_json()
    if out is not None:
        write_for_owner(out, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if as_json:
        print_json(document)
        return
    _show([each.change for each in proof.entries])
    for signed in proof.heads:
        console.print(_head_line(signed), markup=False, soft_wrap=True, style="dim")
    _show_growth([each.older for each in proof.growth])
    if since is not None and not proof.growth:
        console.print(f"no head in {since} is of a partition of this user", markup=False, soft_wrap=True)
    if proof.uncovered:
        console.print(f"{counted(proof.uncovered, 'consent')} in no head yet: one is signed every hour")


@app.command("verify")
def verify_consent(
    proof: Annotated[
        Path | None, typer.Option(help="Check this proof instead; needs no server.", dir_okay=False, exists=True)
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Heads kept before, which must still hold.", dir_okay=False, exists=True)
    ] = None,
    keys: PublicKeys = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Verify the whole ledger: rows, chains, heads and signatures. Names the first broken row of each partition.

    Exits with 1 if anything is wrong.

    Examples: `ebbtide consent verify --against heads.jsonl`, `ebbtide consent verify --proof ann.json --key 6a0d…`
    """
    known = _keys(instance, keys)
    if proof is not None:
        _verify_proof(proof, known, as_json)
        return
    from web.consent import verification

    with _snapshot(instance) as connection, StepPrinter(Console(stderr=True)).step("verifying", None) as step:
        found = verification.verify(
            connection, known, _heads_of(against) if against else (), lambda rows: step.at(rows, f"{rows:,} rows")
        )
    if as_json:
        problems = [{"partition": each.partition, "row": each.number, "what": each.what} for each in found.problems]
        print_json({"partitions": found.partitions, "rows": found.rows, "heads": found.heads, "problems": problems})
    else:
        for each in found.problems:
            row = "" if each.number is None else f"row {each.number} "
            console.print(f"partition {each.partition}: {row}{each.what}", markup=False, soft_wrap=True)
        state = "broken" if found.problems else "whole"
        console.print(f"{found.rows:,} rows in {found.partitions} chains, {found.heads:,} heads: {state}")
    raise typer.Exit(EXIT_FAILED if found.problems else 0)


@app.command("heads")
def list_heads(
    every: Annotated[bool, typer.Option("--all", help="Not only the latest of each partition.")] = False,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the latest signed head of each partition, and the public keys; --json prints one head a line.

    Example: `ebbtide consent heads --json > heads.jsonl`
    """
    from web.consent import tables

    with _snapshot(instance) as connection:
        found = tables.heads(connection)
    latest = found if every else list({signed.head.partition: signed for signed in found}.values())
    for signed in latest:
        if as_json:
            print_json(signed.as_json())
        else:
            console.print(_head_line(signed), markup=False, soft_wrap=True)
    for name, key in {} if as_json else _keys(instance, None).public_texts().items():
        console.print(f"public key {name}: {key}", markup=False, soft_wrap=True)


@app.command("sign")
def sign_heads(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Sign what is there now, without waiting for the hour. `ebbtide run profiles` does it every hour.

    Example: `ebbtide consent sign`
    """
    from datetime import timedelta

    import psycopg

    from infra.postgres.migrate import require_migrated
    from web.consent import ledger

    url, keys = Environment.of(instance).ledger_url, _keys(instance, None)
    with require_migrated(), psycopg.connect(url, options="-c timezone=UTC") as connection:
        signed = ledger.sign_heads(connection, keys, timedelta())
    for each in signed:
        if as_json:
            print_json(each.as_json())
        else:
            console.print(_head_line(each), markup=False, soft_wrap=True)
    if not signed and not as_json:
        console.print("nothing was added since the latest heads")


@contextmanager
def _snapshot(instance: str) -> "Iterator[Connection[Any]]":
    """A transaction that sees one moment of the database of the ledger."""
    import psycopg

    from infra.postgres.migrate import require_migrated

    url = Environment.of(instance).ledger_url
    with require_migrated(), psycopg.connect(url, options="-c timezone=UTC") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection


def _keys(instance: str, public: list[str] | None) -> "HeadKeys":
    """The keys of the instance and the given ones; only the given ones, if there are any."""
    from web.consent.signed_heads import HeadKeys

    try:
        return HeadKeys((), public) if public else HeadKeys(Environment.of(instance).consent_keys)
    except ValueError:
        where = "--key" if public else "EBBTIDE_CONSENT_KEYS"
        raise ConsentError(f"{where}: a key has 64 hexadecimal digits") from None


def _heads_of(file: Path) -> "list[SignedHead]":
    """The heads in a file: one JSON object a line."""
    from web.consent.signed_heads import SignedHead

    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            found.append(SignedHead.of_json(orjson.loads(line)))
        except ValueError as error:
            raise ConsentError(f"{file}:{number}: {error}; `ebbtide consent heads --json` writes such a file") from None
    return found


def _verify_proof(file: Path, keys: "HeadKeys", as_json: bool) -> None:
    from web.consent.proofs import InvalidProof, check_proof

    try:
        document = orjson.loads(file.read_bytes())
        checked = check_proof(document if isinstance(document, dict) else {}, keys)
    except (InvalidProof, orjson.JSONDecodeError) as error:
        typer.echo(f"{file}: not proven: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    if as_json:
        entries = [each.as_json() for each in checked.proven]
        since = [signed.as_json() for signed in checked.grown_since]
        uncovered = len(checked.uncovered)
        print_json({"user_id": checked.user_id, "proven": entries, "uncovered": uncovered, "grown_since": since})
        return
    _show(checked.proven)
    _show_growth(checked.grown_since)
    more = f"; {len(checked.uncovered)} in no head yet" if checked.uncovered else ""
    console.print(f"{counted(len(checked.proven), 'consent')} proven{more}")


def _show(changes: "Sequence[ConsentChange]") -> None:
    for each in changes:
        said = each.as_json()
        proof = f"{each.method or '-'}, text {each.text_version or '-'}, by {each.source or '-'}, {each.seen}"
        console.print(f"{said['time']}  {each.answer:<9}  {each.purpose}  ({proof})", markup=False, soft_wrap=True)


def _show_growth(since: "Sequence[SignedHead]") -> None:
    for signed in since:
        console.print(f"only grew since the {_head_line(signed)}", markup=False, soft_wrap=True)


def _head_line(signed: "SignedHead") -> str:
    head = signed.head
    return (
        f"head of partition {head.partition}: {head.size} rows, {head.as_json()['time']}, root {head.root.hex()}, "
        f"signed by {signed.key_id.hex()}"
    )
