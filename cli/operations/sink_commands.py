"""`ebbtide sink`: shows the mails that the local sink received."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json, say_written
from schemas.errors import UserError

if TYPE_CHECKING:
    from infra.local.sink_mails import ReceivedMail

HELP = """List and show the mails that the local sink received.

Examples: `ebbtide sink list`, `ebbtide sink show 3`"""
app = typer.Typer(help=HELP, no_args_is_help=True)

Directory = Annotated[Path | None, typer.Option("--directory", help="The folder of the sink.")]
To = Annotated[str | None, typer.Option("--to", help="Only mails to this address.")]


class NoMail(UserError):
    """There is no such mail; the message says how to get one."""


@app.command()
def show(
    number: Annotated[
        int | None, typer.Argument(help="Its number in `sink list`; default: the last mail.", show_default=False)
    ] = None,
    to: To = None,
    as_json: AsJson = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the bytes as received.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.", dir_okay=False)] = None,
    directory: Directory = None,
    instance: Instance = "main",
) -> None:
    """Show a mail: headers, the text part, the HTML part as text, and the attachments.

    Example: `ebbtide sink show`, or `ebbtide sink show 3 --html mail.html`
    """
    from cli.operations import mail_view

    at, mail = _chosen(_kept(directory, instance), number, to)
    if raw:
        sys.stdout.buffer.write(mail.raw)
        return
    viewed = mail_view.view(mail.raw)
    if html is not None:
        if viewed.html is None:
            raise NoMail(f"mail {at} has no HTML part")
        html.write_text(viewed.html, encoding="utf-8")
        say_written(html)
    if as_json:
        print_json(_as_json(at, mail))
        return
    console.print(f"mail {at} to {mail.rcpt_to}, {_moment(mail):%Y-%m-%d %H:%M:%S} UTC", style="dim", markup=False)
    for line in mail_view.lines(viewed):
        console.print(line, markup=False, soft_wrap=True)


@app.command("list")
def list_mails(
    to: To = None, as_json: AsJson = False, directory: Directory = None, instance: Instance = "main"
) -> None:
    """List the mails, newest last: number, time, recipient, subject.

    Example: `ebbtide sink list --to ann@mail.example`
    """
    from cli.operations import mail_view

    found = [(at, mail) for at, mail in _numbered(_kept(directory, instance)) if _is_to(mail, to)]
    for at, mail in found:
        subject = mail_view.view(mail.raw).header("Subject")
        if as_json:
            received = _moment(mail).isoformat()
            print_json({"number": at, "received_at": received, "rcpt_to": mail.rcpt_to, "subject": subject})
        else:
            row = f"{at:>5}  {_moment(mail):%Y-%m-%d %H:%M:%S}  {mail_view.shown(mail.rcpt_to)}  {subject}"
            console.print(row, markup=False, soft_wrap=True)
    if not found and not as_json:
        console.print(_none(_kept(directory, instance), to), markup=False, soft_wrap=True)


def _kept(directory: Path | None, instance: str) -> Path:
    return directory or Environment.of(instance).home / "sink"


def _numbered(directory: Path) -> "Iterator[tuple[int, ReceivedMail]]":
    from infra.local.sink_mails import read_messages

    return enumerate(read_messages(directory), 1)


def _chosen(directory: Path, number: int | None, to: str | None) -> "tuple[int, ReceivedMail]":
    last, found = 0, None
    for at, mail in _numbered(directory):
        last = at
        if _is_to(mail, to) and number in (None, at):
            found = at, mail
    if found is None and number is not None and last:
        other = (
            f"mail {number} is not to {to}" if to is not None and 1 <= number <= last else f"there is no mail {number}"
        )
        raise NoMail(f"{other}; there are 1 to {last}, and `ebbtide sink list` shows them")
    if found is None:
        raise NoMail(_none(directory, to))
    return found


def _none(directory: Path, to: str | None) -> str:
    which = "no mail" if to is None else f"no mail to {to}"
    how = "start `ebbtide run sink`, then send one: `ebbtide send-test TEMPLATE --to you@shop.example`"
    return f"{which} in {directory} yet; {how}"


def _is_to(mail: "ReceivedMail", to: str | None) -> bool:
    from schemas.addresses import address_key

    return to is None or address_key(mail.rcpt_to) == address_key(to)


def _moment(mail: "ReceivedMail") -> datetime:
    return datetime.fromtimestamp(mail.received_at, UTC)


def _as_json(number: int, mail: "ReceivedMail") -> dict[str, Any]:
    from cli.operations import mail_view

    viewed = mail_view.view(mail.raw)
    heads = {
        name.lower().replace("-", "_"): viewed.header(name) or None for name in ("From", "To", "Reply-To", "Subject")
    }
    return {
        "number": number,
        "received_at": _moment(mail).isoformat(),
        "mail_from": mail.mail_from,
        "rcpt_to": mail.rcpt_to,
        **heads,
        "headers": viewed.headers,
        "text": viewed.text,
        "html": viewed.html,
        "html_as_text": None if viewed.html is None else viewed.reading.text,
        "preheader": viewed.reading.hidden or None,
        "attachments": [asdict(each) for each in viewed.attachments],
    }
