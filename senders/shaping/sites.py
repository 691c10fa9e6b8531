"""Destinations and what they belong to: the site, which is a whole set of MX hosts, and the provider.

A provider matches only if all hosts of the set match. Else its rules would hold for a host of somebody else.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from schemas.digests import digest
from senders.shaping.document import HostMatch, ProviderTable

MAX_NAME = 200
_SHOWN_HOSTS = 4
_NAME = re.compile(r"\((?P<some>[^()]*)\)(?P<optional>\??)(?P<suffix>[^()]*)")


@dataclass(frozen=True, slots=True)
class Destination:
    """A recipient's domain and its MX hosts, in small letters and without a closing point. The order means nothing."""

    domain: str
    mx_hosts: frozenset[str]

    @classmethod
    def of(cls, domain: str, mx_hosts: Iterable[str]) -> "Destination":
        """The destination; host names may be written in any way that DNS allows."""
        return cls(domain.lower().rstrip("."), frozenset(host.lower().rstrip(".") for host in mx_hosts))

    @property
    def site(self) -> str:
        """The name of the site that domains with the same MX hosts share."""
        return site_name(self.mx_hosts) if self.mx_hosts else self.domain


def site_name(hosts: Iterable[str]) -> str:
    """One name for a set of hosts, as in `(alt1|alt2)?.gmail-smtp-in.l.google.com`. Other sets have other names."""
    ordered = sorted(set(hosts))
    if len(ordered) == 1:
        return ordered[0]
    labels = zip(*(reversed(host.split(".")) for host in ordered), strict=False)
    shared = [same[0] for same in takewhile(lambda same: len(set(same)) == 1, labels)]
    suffix = "".join(f".{label}" for label in reversed(shared))
    parts = [host.removesuffix(suffix) if suffix != f".{host}" else "" for host in ordered]
    some, optional = "|".join(part for part in parts if part), "?" if "" in parts else ""
    name = f"({some}){optional}{suffix}"
    if len(name) <= MAX_NAME:
        return name
    shown = "|".join(ordered[:_SHOWN_HOSTS])[: MAX_NAME // 2]
    return f"({shown}|{len(ordered)} hosts {digest(ordered)})"


def hosts_of(name: str) -> frozenset[str]:
    """The hosts of the site with this name; of one whose hosts are too many to be named, those that are."""
    whole = _NAME.fullmatch(name)
    if whole is None:
        return frozenset({name})
    parts, suffix = whole["some"].split("|"), whole["suffix"]
    if " " in parts[-1]:  # `(a.example|b.example|100 hosts DIGEST)`: the last host that is shown may be cut off
        return frozenset(parts[:-2] or parts[:1])
    hosts = {f"{part}{suffix}" for part in parts}
    return frozenset(hosts | ({suffix.removeprefix(".")} if whole["optional"] else set()))


def provider_of(providers: Mapping[str, ProviderTable], destination: Destination) -> str | None:
    """The provider of a destination: the first in the file that matches."""
    return next((name for name, table in providers.items() if _matches(table.match, destination)), None)


def _matches(ways: tuple[HostMatch, ...], destination: Destination) -> bool:
    suffixes = [way.domain_suffix for way in ways if way.domain_suffix is not None]
    if any(f".{destination.domain}".endswith(suffix) for suffix in suffixes):
        return True
    hosts = destination.mx_hosts
    return bool(hosts) and all(any(_is_host(way, host) for way in ways) for host in hosts)


def _is_host(way: HostMatch, host: str) -> bool:
    return way.host_name == host or (way.mx_suffix is not None and host.endswith(way.mx_suffix))
