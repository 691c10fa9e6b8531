"""MTA-STS (RFC 8461): the policy of a recipient's domain, fetched over HTTPS within bounds, and kept while it holds.

What cannot be fetched leaves the policy that is kept, or none: a domain's web server must not stop its mail. A policy
is kept in memory, so a restarted process fetches it again.
"""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from senders.channels.channel import LookupFailed
from senders.channels.dns.public_addresses import may_get_mail
from senders.channels.dns.resolver import DnsResolver
from senders.channels.dns.sts_policy import InvalidPolicy, StsPolicy, published_id

FETCH_S: Final = 5.0
LARGEST_POLICY: Final = 65_536
RETRY_AFTER_S: Final = 300.0
MAX_KEPT: Final = 50_000
_KINDS = {socket.AF_INET: ("A",), socket.AF_INET6: ("AAAA",)}


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A policy and the id under which it was published. `policy` is None where the fetch failed."""

    id: str
    policy: StsPolicy | None
    until: float


class StsPolicies:
    """The policies of all domains."""

    def __init__(
        self,
        resolver: DnsResolver,
        *,
        allow_private: bool = False,
        port: int = 443,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._port = port
        self._tls = tls or ssl.create_default_context()
        self._clock = clock
        self._kept: dict[str, KeptPolicy] = {}
        self._failed: dict[str, KeptPolicy] = {}
        self._log = structlog.get_logger("senders.channels.dns.sts")

    async def policy(self, domain: str) -> StsPolicy | None:
        """The policy that holds for a domain now, or None."""
        kept = self._valid(self._kept, domain)
        published = await self._published(domain)
        if published is None or (kept is not None and kept.id == published):
            return kept.policy if kept else None
        failed = self._valid(self._failed, domain)
        if failed is None or failed.id != published:
            kept = await self._fetched(domain, published) or kept
        return kept.policy if kept else None

    def _valid(self, where: dict[str, KeptPolicy], domain: str) -> KeptPolicy | None:
        found = where.get(domain)
        return found if found is not None and self._clock() < found.until else None

    async def _published(self, domain: str) -> str | None:
        try:
            answer = await self._resolver.ask(f"_mta-sts.{domain}", "TXT")
        except (LookupFailed, ValueError):  # too long a name has no policy
            return None
        records: list[Any] = list(answer.records)
        return published_id([b"".join(record.strings).decode("ascii", "replace") for record in records])

    async def _fetched(self, domain: str, published: str) -> KeptPolicy | None:
        """The policy as the domain publishes it now, kept from now on; None if it cannot be fetched."""
        try:
            policy = StsPolicy.parse(await self._fetch(domain))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) if isinstance(error, InvalidPolicy) else type(error).__name__
            self._log.warning("sts_policy_not_fetched", domain=domain, error=reason)
            self._keep(self._failed, domain, KeptPolicy(published, None, self._clock() + RETRY_AFTER_S))
            return None
        kept = KeptPolicy(published, policy, self._clock() + policy.max_age_s)
        self._keep(self._kept, domain, kept)
        return kept

    @staticmethod
    def _keep(where: dict[str, KeptPolicy], domain: str, policy: KeptPolicy) -> None:
        where.pop(domain, None)
        if len(where) >= MAX_KEPT:
            del where[next(iter(where))]
        where[domain] = policy

    async def _fetch(self, domain: str) -> str:
        """The policy file. No redirect is followed (3.3), and nothing but a whole text of moderate size counts."""
        url = f"https://mta-sts.{domain}:{self._port}/.well-known/mta-sts.txt"
        connector = aiohttp.TCPConnector(
            resolver=_PublicResolver(self._resolver, allow_private=self._allow_private), ssl=self._tls, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=FETCH_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "ebbtide"},
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200 or response.content_type != "text/plain":
                raise InvalidPolicy(f"status {response.status}, or not text/plain")
            body = b""
            while len(body) <= LARGEST_POLICY and (piece := await response.content.read(LARGEST_POLICY + 1)):
                body += piece
        if len(body) > LARGEST_POLICY:
            raise InvalidPolicy(f"longer than {LARGEST_POLICY} bytes")
        return body.decode("utf-8", "replace")


class _PublicResolver(AbstractResolver):
    """Finds addresses for aiohttp, which connects to these and no others."""

    def __init__(self, resolver: DnsResolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host that we may connect to; raises OSError if there is none."""
        kinds = _KINDS.get(family, ("A", "AAAA"))
        answers = [(await self._resolver.ask(host, kind)).records for kind in kinds]
        records: list[Any] = [record for records in answers for record in records]
        addresses = [address for address in map(_address, records) if self._allow_private or may_get_mail(address)]
        if not addresses:
            raise OSError(f"no address of {host} that we may connect to")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _address(record: Any) -> str:
    return str(record.address)
