"""Where webhooks may go: to public addresses of others, and to hosts that the settings name.

A rule's author writes the URL, and DNS is in the hands of strangers. So each address is looked at after the host was
resolved, and the connection goes to that address: a name that leads elsewhere a moment later changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from senders.channels.dns.public_addresses import is_own, is_public

_THREADS = ThreadPoolExecutor(32, thread_name_prefix="webhook-lookup")
"""A name whose servers are silent holds one for long. So they are not the loop's, by which mail servers are found."""


class DestinationRefused(OSError):
    """No address of the host is one that webhooks may go to. The message names the host, not the addresses."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """The addresses that webhooks may go to. Without `allow_real`, only loopback ones."""

    named: Collection[str] = ()
    """Hosts, in small letters, that may have any address."""
    allow_real: bool = False

    def allows(self, host: str, address: str) -> bool:
        """Whether a request to this host may go to this address."""
        if not self.allow_real and not ipaddress.ip_address(address).is_loopback:
            return False
        return host in self.named or (is_public(address) and not is_own(address))

    def require(self, host: str, *, encrypted: bool) -> None:
        """Raise DestinationRefused if the host is itself an address, which nobody resolves, and not an allowed one.

        A host of digits in another form (`127.1`, `2130706433`) is refused: aiohttp takes it for an address, and the
        system for one of this machine. What is not encrypted goes only to hosts that the settings name.
        """
        if not encrypted and host not in self.named:
            raise DestinationRefused(f"{host} gets plain requests only if the settings name it")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if ":" in host or host.replace(".", "").isdigit():
                raise DestinationRefused(f"{host} is neither a name nor an address") from None
            return
        if not self.allows(host, host):
            raise DestinationRefused(self.why(host))

    def why(self, host: str) -> str:
        """Why a host is refused."""
        if not self.allow_real:
            return f"{host} is not on this machine, and real calls are not allowed"
        return f"{host} has only addresses of a private network or of this machine"


class CheckedResolver(AbstractResolver):
    """Finds addresses for aiohttp, which connects to these and no others."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host that requests may go to; raises OSError if there is none."""
        found = await asyncio.get_running_loop().run_in_executor(_THREADS, _look_up, host, port, family)
        allowed = [each for each in found if self._destinations.allows(host.lower(), each["host"].partition("%")[0])]
        if not allowed:
            raise DestinationRefused(self._destinations.why(host))
        return allowed

    async def close(self) -> None:
        """Nothing to close."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """What the system finds for a host, in addresses with their scope. Blocks."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
    ]
