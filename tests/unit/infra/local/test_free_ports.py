"""A port that a test has chosen is its own, before and after a server listens on it."""

import socket
import socketserver

import pytest
from drivers.free_ports import LOOPBACK, free_port

from infra.local.holders import answers, is_free


def test_a_chosen_port_refuses_connections_until_its_server_listens_and_is_nobody_elses() -> None:
    port = free_port()
    for _ in range(2):
        assert not answers(port)
        assert is_free(port), "a server may take it"
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind((LOOPBACK, port))
        with socket.create_server((LOOPBACK, port)):
            assert answers(port)


def test_ports_in_a_row_are_all_kept() -> None:
    first = free_port(3)
    for port in range(first, first + 3):
        with pytest.raises(OSError, match="in use"):
            socketserver.TCPServer((LOOPBACK, port), socketserver.BaseRequestHandler)
