"""A mail server of the tests that keeps count, and answers or misbehaves as a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LONGEST = 64_000_000


@dataclass
class Receiver:
    """A mail server that keeps count; `answers` overrides replies by verb, and a reply of None hangs up."""

    answers: dict[str, Callable[["Talk"], bytes | None]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    final: Callable[["Talk"], bytes | None] = lambda _: b"250 taken"
    """The reply to the content; None hangs up."""
    after_mail: Callable[["Talk"], bytes | None] | None = None
    """What comes unasked after the final reply; None hangs up."""
    offers: tuple[str, ...] = ()
    """Keywords of the reply to EHLO."""
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    mails: int = 0
    secured_mails: int = 0
    verbs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """The names that clients asked for in their TLS handshakes."""


@dataclass
class Talk:
    """One connection: how many mails it took, whether it is encrypted, and whether there is a recipient."""

    receiver: Receiver
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    mails: int = 0
    secured: bool = False
    recipient: bool = False


DEFAULTS = {
    "HELO": b"250 test",
    "MAIL": b"250 ok",
    "RCPT": b"250 ok",
    "RSET": b"250 ok",
    "DATA": b"354 go",
    "QUIT": b"221 bye",
    "STARTTLS": b"220 go",
    "BDAT": b"503 5.5.1 no recipient",
    "AUTH": b"235 welcome",
}


async def converse(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk on one connection until it ends."""
    receiver.connections += 1
    talk = Talk(receiver, reader, writer)
    greeting = receiver.answers.get("CONNECT", lambda _: b"220 test ESMTP")(talk)
    writer.write((greeting or b"") + b"\r\n")
    while greeting is not None and greeting.startswith(b"220") and (line := await reader.readline()):
        if not await _command(talk, line.decode()):
            break
        await writer.drain()
    writer.close()


async def _command(talk: Talk, line: str) -> bool:
    """Whether the connection goes on after this command."""
    verb = line.split()[0].upper()
    talk.receiver.verbs.append(verb)
    talk.receiver.lines.append(line.removesuffix("\r\n"))
    if verb == "BDAT":
        talk.receiver.contents.append(await talk.reader.readexactly(int(line.split()[1])))
        if talk.recipient and "BDAT" not in talk.receiver.answers:
            return _take(talk)
    reply = _answer(talk, verb)
    if reply is None:
        return False
    talk.writer.write(reply + b"\r\n")
    if reply.startswith((b"421", b"221")):
        return False
    if verb == "RCPT":
        talk.recipient = reply.startswith(b"2")
    if verb == "STARTTLS" and reply.startswith(b"220"):
        return await _secure(talk)
    if reply.startswith(b"354"):
        talk.receiver.contents.append(await _until_dot(talk.reader))
        return _take(talk)
    return True


async def _secure(talk: Talk) -> bool:
    if talk.receiver.tls is None:
        return False
    await talk.writer.start_tls(talk.receiver.tls)
    talk.secured = True
    return True


async def _until_dot(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) not in (b".\r\n", b""):
        lines.append(line)
    return b"".join(lines)


def _take(talk: Talk) -> bool:
    receiver = talk.receiver
    final = receiver.final(talk)
    if final is None:
        return False
    talk.writer.write(final + b"\r\n")
    if final.startswith(b"421"):
        return False
    talk.mails += 1
    receiver.mails += 1
    receiver.secured_mails += talk.secured
    unasked = b"" if receiver.after_mail is None else receiver.after_mail(talk)
    if unasked:
        talk.writer.write(unasked + b"\r\n")
    return unasked == b""


def _answer(talk: Talk, verb: str) -> bytes | None:
    receiver = talk.receiver
    if verb in receiver.answers:
        return receiver.answers[verb](talk)
    if verb == "EHLO":
        offers_tls = ("STARTTLS" in receiver.answers or receiver.tls is not None) and not talk.secured
        keywords = ["test", *(["STARTTLS"] if offers_tls else []), *receiver.offers]
        lines = [f"250-{keyword}" for keyword in keywords[:-1]] + [f"250 {keywords[-1]}"]
        return "\r\n".join(lines).encode()
    return DEFAULTS.get(verb, b"500 what?")


@asynccontextmanager
async def running(receiver: Receiver) -> AsyncIterator[Receiver]:
    """The receiver at a port of its own, which `receiver.port` says from then on, unless it says one before."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(receiver, reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            writer.close()

    def note_name(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        receiver.names.append(name)

    if receiver.tls is not None:
        receiver.tls.sni_callback = note_name
    async with await asyncio.start_server(talk, receiver.host, receiver.port, limit=LONGEST) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver
