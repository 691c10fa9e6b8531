"""The name server for trials: what delivery's own resolver finds there."""

import socket

import pytest

from infra.local.name_server import HOST, name_server
from infra.local.problems import SetupProblem
from senders.channels.dns.direct import mail_domains
from senders.settings import SenderSettings


async def test_each_domain_has_one_mail_server_on_this_machine():
    with name_server(0) as port:
        settings = SenderSettings(
            database_url="postgresql://nowhere/none",
            suppression_key="a secret of the tests alone",
            dns_servers=(f"{HOST}:{port}",),
            allow_private_mx=True,
        )
        found = await mail_domains(settings).find("northmail.example")
    assert found.mx_hosts == {"mx.northmail.example"}


def test_what_is_no_query_gets_no_answer_and_stops_nothing():
    with name_server(0) as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"", (HOST, port))
        client.sendto(b"no query", (HOST, port))
        client.sendto(bytes.fromhex("abcd01000001000000000000") + b"\x07example\x00\x00\x0f\x00\x01", (HOST, port))
        assert client.recv(512).startswith(b"\xab\xcd")


def test_a_port_in_use_is_named_with_what_to_do():
    with name_server(0) as port, pytest.raises(SetupProblem) as refused, name_server(port):
        pass
    assert f"UDP port {port} for the name server is in use" in refused.value.line
    assert "EBBTIDE_PORT_BASE=" in refused.value.line
