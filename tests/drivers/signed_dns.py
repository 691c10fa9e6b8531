"""DNSSEC for tests: a signed root zone of our own, its server, and unbound, which validates what that says."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from drivers.debian_programs import debian_program
from drivers.dns_server import Datagrams
from drivers.free_ports import free_port

LIBRARIES = ("libunbound8", "libevent-2.1-7", "libprotobuf-c1", "libhiredis0.14", "libpython3.11", "libnghttp2-14")


@dataclass
class SignedRoot:
    """A root zone with everything in it, signed with a key of its own."""

    zone: dns.zone.Zone
    anchor: str

    @classmethod
    def of(cls, records: str) -> "SignedRoot":
        """Sign the records, which a zone file would have below the root's SOA and NS."""
        text = f"$TTL 60\n@ SOA ns. admin. 1 3600 600 86400 60\n@ NS ns.\nns. A 127.0.0.1\n{records}\n"
        zone = dns.zone.from_text(text, origin=dns.name.root, relativize=False)
        key = ec.generate_private_key(ec.SECP256R1())
        dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
        dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], lifetime=86_400, dnskey_ttl=60)
        return cls(zone, f". 60 IN DS {dns.dnssec.make_ds(dns.name.root, dnskey, 'SHA256')}")

    def forge(self, name: str, kind: str, value: str) -> None:
        """Change a record and leave its signature."""
        self.zone.replace_rdataset(dns.name.from_text(name), dns.rdataset.from_text("IN", kind, 60, value))

    def answer(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        [question] = query.question
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self._add(response.answer, question.name, question.rdtype):
            return response.to_wire()
        self._add(response.authority, dns.name.root, dns.rdatatype.SOA)
        if self.zone.get_node(question.name) is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
            self._add(response.authority, self._before(dns.name.Name((b"*", *question.name[1:]))), dns.rdatatype.NSEC)
        self._add(response.authority, self._before(question.name), dns.rdatatype.NSEC)
        return response.to_wire()

    def _add(self, section: list[Any], name: dns.name.Name, kind: dns.rdatatype.RdataType) -> bool:
        """Put records and their signatures into a section, once; whether there are any."""
        found = self.zone.get_rdataset(name, kind)
        if found is None or any(rrset.name == name and rrset.rdtype == kind for rrset in section):
            return found is not None
        signatures = self.zone.get_rdataset(name, dns.rdatatype.RRSIG, kind)
        for rdataset in (found, signatures):
            assert rdataset is not None, "the whole zone is signed"
            section.append(dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)))
        return True

    def _before(self, name: dns.name.Name) -> dns.name.Name:
        """The name whose NSEC record says what is not there."""
        return max(known for known in self.zone.nodes if known <= name)


@asynccontextmanager
async def validating(root: SignedRoot, directory: Path) -> AsyncIterator[int]:
    """unbound as a resolver with our root as its root, and our key as its anchor; its port. Skips without unbound."""
    program = debian_program("unbound", "unbound", LIBRARIES)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(root.answer), local_addr=("127.0.0.1", 0))
    upstream, port = transport.get_extra_info("sockname")[1], free_port()
    config = directory / "unbound.conf"
    config.write_text(f"""
server:
  directory: "{directory}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "unbound.log"
  interface: 127.0.0.1
  port: {port}
  do-ip6: no
  do-not-query-localhost: no
  qname-minimisation: no
  trust-anchor: "{root.anchor}"
  trust-anchor-signaling: no
  root-key-sentinel: no
  module-config: "validator iterator"
remote-control:
  control-enable: no
stub-zone:
  name: "."
  stub-addr: 127.0.0.1@{upstream}
""")
    command = [str(program.file), "-d", "-c", str(config)]
    process = subprocess.Popen(command, env=os.environ | program.environment, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
        transport.close()
