"""A DNS server of the tests over UDP and TCP: to its clients a resolver, with the records of one test."""

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SERVFAIL, SILENT = "SERVFAIL", "SILENT"
"""Instead of records: how the server fails."""


@dataclass
class Zones:
    """Records by name and type, in the presentation of zone files; `signed` names are answered with the AD bit."""

    records: dict[tuple[str, str], list[str] | str] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    ttl_s: int = 300
    queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    port: int = 0

    def put(self, name: str, kind: str, *values: str, signed: bool = False) -> None:
        """Answer with these records, or with `SERVFAIL` or `SILENT`."""
        failing = values in ((SERVFAIL,), (SILENT,))
        self.records[name.lower(), kind] = values[0] if failing else list(values)
        if signed:
            self.signed.add(name.lower())

    def host(self, name: str, *addresses: str, signed: bool = False) -> None:
        """A host with addresses of one family or both."""
        for kind in ("A", "AAAA"):
            found = [address for address in addresses if (":" in address) is (kind == "AAAA")]
            if found:
                self.put(name, kind, *found, signed=signed)
        if signed:
            self.signed.add(name.lower())

    def answer(self, wire: bytes, largest: int | None) -> bytes | None:
        query = dns.message.from_wire(wire)
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower() or ".", dns.rdatatype.to_text(question.rdtype)
        self.queries[name, kind] += 1
        response = dns.message.make_response(query, recursion_available=True)
        found = self._follow(response, name, kind)
        if found == SILENT:
            return None
        if found == SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
            response.answer.clear()
        out = response.to_wire(max_size=65_535)
        if largest is not None and len(out) > largest:
            response.answer.clear()
            response.flags |= dns.flags.TC
            out = response.to_wire()
        return out

    def _follow(self, response: Any, name: str, kind: str) -> str | None:
        """Fill the response; returns how to fail, if so."""
        signed, seen = True, set[str]()
        while True:
            signed &= name in self.signed
            found = self.records.get((name, kind))
            if isinstance(found, str):
                return found
            alias = self.records.get((name, "CNAME")) if found is None else None
            values: Sequence[str] = found or alias or ()
            if values:
                shown = kind if found else "CNAME"
                absolute = dns.name.from_text(name)
                response.answer.append(dns.rrset.from_text_list(absolute, self.ttl_s, "IN", shown, values))
            if not alias or name in seen:
                break
            seen.add(name)
            name = alias[0].rstrip(".").lower()
        exists = any(known == name for known, _ in self.records)
        if not exists and name != ".":
            response.set_rcode(dns.rcode.NXDOMAIN)
        if not values:
            soa = f"ns.{name}. admin.{name}. 1 2 3 4 {self.ttl_s}"
            owner = dns.name.from_text(name)
            response.authority.append(dns.rrset.from_text(owner, self.ttl_s, "IN", "SOA", soa))
        if signed:
            response.flags |= dns.flags.AD
        return SERVFAIL if name in seen else None


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram, or not."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if (answer := self._answer(data)) is not None:
            self._transport.sendto(answer, address)


@asynccontextmanager
async def serving(zones: Zones) -> AsyncIterator[Zones]:
    """The server at 127.0.0.1 and a port that `zones.port` says from then on."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while size := await reader.read(2):
            answer = zones.answer(await reader.readexactly(struct.unpack("!H", size)[0]), None)
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    zones.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(lambda wire: zones.answer(wire, 1232)), local_addr=("127.0.0.1", zones.port)
    )
    try:
        async with server:
            yield zones
    finally:
        transport.close()


@contextmanager
def answering(zones: Zones) -> Iterator[None]:
    """A DNS server in a thread of its own, for tests whose delivery has a loop of its own."""
    loop, begun, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving(zones):
            begun.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert begun.wait(10), "the DNS server did not start"
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()
