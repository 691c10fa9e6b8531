"""Lookups in the DNS, cached by their TTL. It asks a resolver, which must validate DNSSEC where DANE is to be used."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdata
import dns.resolver
import dns.rrset

from senders.channels.channel import LookupFailed

TRY_S: Final = 2.0
LOOKUP_S: Final = 5.0
PROBE_KEEP_S: Final = 3600.0
PROBE_AGAIN_S: Final = 300.0
CACHE_SIZE: Final = 20_000
LARGEST_DATAGRAM: Final = 1232


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The records of one name and type, in no order; none if the name has none of that type, or does not exist."""

    records: tuple[dns.rdata.Rdata, ...]
    exists: bool
    """Whether the name exists."""
    authentic: bool
    """Whether the resolver has validated the answer, also where it says that there is nothing."""
    ttl_s: float
    canonical: str
    """The name at the end of its CNAMEs."""


class DnsResolver:
    """For all lookups of a process."""

    def __init__(self, servers: Sequence[tuple[str, int]] = (), lookup_s: float = LOOKUP_S) -> None:
        """`servers` are addresses and ports; none takes the system's. A lookup fails after `lookup_s`."""
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in servers]
        self._resolver.cache = dns.resolver.LRUCache(CACHE_SIZE)
        self._resolver.use_edns(0, dns.flags.DO, LARGEST_DATAGRAM)
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._resolver.timeout = TRY_S
        self._resolver.lifetime = lookup_s
        self._probed_until = 0.0
        self._validates = False

    async def ask(self, name: str, kind: str) -> DnsAnswer:
        """The records of a name; raises LookupFailed if there is no answer, and ValueError if it cannot be a name."""
        try:
            found = await self._resolver.resolve(_absolute(name), kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as missing:
            return _missing(missing)
        except dns.exception.DNSException as error:
            raise LookupFailed(f"{kind} of {name}: {_describe(error)}") from error
        except OSError as error:
            raise LookupFailed(f"{kind} of {name}: {error}") from error
        return DnsAnswer(
            records=tuple(found.rrset or ()),
            exists=True,
            authentic=bool(found.response.flags & dns.flags.AD),
            ttl_s=max(0.0, found.expiration - time.time()),
            canonical=_text(found.canonical_name),
        )

    async def validates(self) -> bool:
        """Whether the resolver validates DNSSEC: it says so of the root, which is signed. Raises LookupFailed."""
        if time.monotonic() >= self._probed_until:
            self._validates = (await self.ask(".", "NS")).authentic
            self._probed_until = time.monotonic() + (PROBE_KEEP_S if self._validates else PROBE_AGAIN_S)
        return self._validates


def _absolute(name: str) -> dns.name.Name:
    try:
        return dns.name.from_text(name, dns.name.root)
    except dns.exception.DNSException as error:
        raise ValueError(f"not a name of the DNS: {_describe(error)}") from None


def _missing(error: dns.resolver.NXDOMAIN) -> DnsAnswer:
    """What an NXDOMAIN says, from the response of the last name that was asked for."""
    details: Any = error.kwargs  # dnspython keeps the responses there, by name
    response = list(details["responses"].values())[-1]
    ttl_s = min((float(record.ttl) for record in response.authority), default=0.0)
    return DnsAnswer((), exists=False, authentic=bool(response.flags & dns.flags.AD), ttl_s=ttl_s, canonical="")


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def host_name(name: dns.name.Name) -> str:
    """A host's name in small letters and without a closing point; "" is the root."""
    return "" if name == dns.name.root else _text(name)


def _describe(error: dns.exception.DNSException) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no answer in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "no server gave an answer"
    return type(error).__name__
