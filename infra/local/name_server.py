"""A name server for trials on one machine: each domain has one mail server, `mx.DOMAIN`, whose address is loopback."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, UDPServer

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset

from infra.local.holders import next_base
from infra.local.ports import VARIABLE
from infra.local.problems import SetupProblem

HOST = "127.0.0.1"
TTL_S = 300
MAIL_SERVER = b"mx"


@contextmanager
def name_server(port: int) -> Iterator[int]:
    """Answers at HOST by UDP, from a thread of its own, during the block; yields the port, which it chooses for 0.

    Raises SetupProblem if the port is in use.
    """
    with _server(port) as server:
        thread = threading.Thread(target=server.serve_forever, name="name-server")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _server(port: int) -> UDPServer:
    try:
        return UDPServer((HOST, port), _Answer)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SetupProblem(
            f"UDP port {port} for the name server is in use: stop what uses it, or move all ports with "
            f"{VARIABLE}={next_base(port)}"
        ) from None


class _Answer(BaseRequestHandler):
    """Answers one query, and nothing to what is no query."""

    def handle(self) -> None:
        wire, socket = self.request
        try:
            query = dns.message.from_wire(wire)
            response = dns.message.make_response(query, recursion_available=True)
        except dns.exception.DNSException:
            return
        for question in query.question:
            if value := _record(question.name, question.rdtype):
                record = dns.rrset.from_text(question.name, TTL_S, question.rdclass, question.rdtype, value)
                response.answer.append(record)
        socket.sendto(response.to_wire(), self.client_address)


def _record(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> str | None:
    """The one record of this kind; None if there is none."""
    is_mail_server = name.labels[0] == MAIL_SERVER
    if kind == dns.rdatatype.MX and not is_mail_server:
        return f"10 {MAIL_SERVER.decode()}.{name}"
    return HOST if kind == dns.rdatatype.A and is_mail_server else None
