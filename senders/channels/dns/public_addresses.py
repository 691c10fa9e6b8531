"""Which addresses a stranger's DNS may make us connect to: public ones of others, so no MX reaches into our network."""

import ipaddress
import socket

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_USE = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "fec0::/10", "::/96")))
"""NAT64 of a network's own (RFC 8215), site-local and IPv4-compatible addresses: not all tables of Python have them."""


def is_public(address: str) -> bool:
    """Whether it is an address on the internet, and no IPv4 address behind it is another."""
    parsed = ipaddress.ip_address(address)
    inner = _inner(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast and not any(parsed in network for network in _LOCAL_USE)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def is_own(address: str) -> bool:
    """Whether it is an address of this machine: only those can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def may_get_mail(address: str) -> bool:
    """Whether mail may go to an address that the DNS of a recipient's domain names."""
    return is_public(address) and not is_own(address)
