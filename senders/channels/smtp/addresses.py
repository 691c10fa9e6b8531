"""The IP addresses of a host, and which of them may get mail."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from senders.channels.channel import RealMailRefused, Unreachable
from senders.channels.smtp.route import MailHost


async def addresses_of(host: MailHost, *, allow_real_mail: bool) -> Sequence[str]:
    """The addresses to connect to, in order; raises Unreachable, and RealMailRefused if any is not loopback."""
    found = host.addresses or await _by_the_system(host)
    if not allow_real_mail:
        for address in found:
            if not ipaddress.ip_address(address).is_loopback:
                raise RealMailRefused(
                    f"SMTP server {host.server} is {address}, which is not loopback, and real mail is refused; "
                    "set EBBTIDE_ALLOW_REAL_MAIL=true to send it, or EBBTIDE_SMTP_HOST=127.0.0.1"
                )
    return found


async def _by_the_system(host: MailHost) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"{host.server}: {error}") from error
    return [str(sockaddr[0]) for *_, sockaddr in found]


def same_family(address: str, source: str | None) -> bool:
    """Whether a connection from `source` can go to this address."""
    return source is None or ipaddress.ip_address(address).version == ipaddress.ip_address(source).version
