"""`python -m perf.smtp_receiver`: a mail server of the measurements that reads as fast as it can and keeps nothing.

It prints its port. Replies to commands that arrived together go out together, `--delay-ms` later, as over a long line.
"""

import asyncio
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_REPLIES = {
    b"EHLO": None,
    b"HELO": b"250 perf\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
    b"STARTTLS": b"220 go\r\n",
}


class _Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, offers: tuple[str, ...], tls: ssl.SSLContext | None, delay_s: float) -> None:
        self._offers = offers
        self._tls = tls
        self._delay_s = delay_s
        self._buffer = bytearray()
        self._chunk = 0
        self._in_data = False
        self._securing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if transport.get_extra_info("sslcontext") is None:
            transport.write(b"220 perf ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._securing is None:
            self._read()

    def _read(self) -> None:
        out = bytearray()
        while (reply := self._next()) is not None:
            out += reply
        if out.endswith(b"220 go\r\n"):
            self._transport.write(bytes(out))
            self._securing = self._loop.create_task(self._secure())
        elif out and self._delay_s:
            self._loop.call_later(self._delay_s, self._transport.write, bytes(out))
        elif out:
            self._transport.write(bytes(out))

    async def _secure(self) -> None:
        assert self._tls is not None
        secured = await self._loop.start_tls(self._transport, self, self._tls, server_side=True)
        assert secured is not None
        self._transport, self._tls, self._securing = secured, None, None
        self._read()  # what came before this task went on

    def _next(self) -> bytes | None:
        """The reply to the next command or content, if it is here as a whole."""
        if self._chunk:
            if len(self._buffer) < self._chunk:
                return None
            del self._buffer[: self._chunk]
            self._chunk = 0
            return b"250 2.0.0 taken\r\n"
        if self._in_data:
            end = self._buffer.find(b"\r\n.\r\n")
            if end < 0:
                return None
            del self._buffer[: end + 5]
            self._in_data = False
            return b"250 2.0.0 taken\r\n"
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return self._answer(line)

    def _answer(self, line: bytes) -> bytes:
        verb = line.split(b" ", 1)[0].upper()
        if verb == b"EHLO":
            keywords = [*self._offers, *([] if self._tls is None else ["STARTTLS"]), "8BITMIME"]
            return "".join(f"250-{keyword}\r\n" for keyword in ("perf", *keywords)).encode() + b"250 HELP\r\n"
        if verb == b"BDAT":
            self._chunk = int(line.split()[1])
            return b""
        self._in_data = verb == b"DATA"
        return _REPLIES.get(verb) or b"250 2.1.0 ok\r\n"


def certificate(directory: Path) -> ssl.SSLContext:
    """A server's TLS with a self-signed certificate, made in this directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "perf.example")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    pem = directory / "perf.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def _serve(offers: tuple[str, ...], delay_s: float, tls: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        context = certificate(Path(directory)) if tls else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Receiver(offers, context, delay_s), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main(
    offer: Annotated[list[str] | None, typer.Option(help="A keyword to offer after EHLO.")] = None,
    delay_ms: Annotated[int, typer.Option(min=0, help="How long replies take.")] = 0,
    tls: Annotated[bool, typer.Option(help="Offer STARTTLS.")] = False,
) -> None:
    """Take mail on 127.0.0.1 until it is ended."""
    asyncio.run(_serve(tuple(offer or ()), delay_ms / 1000, tls))


if __name__ == "__main__":
    typer.run(main)
