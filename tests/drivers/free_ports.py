"""Ports for servers that a test starts, or that are to be away."""

import socket

LOOPBACK = "127.0.0.1"
_RESERVED: list[socket.socket] = []
"""They do not listen, so connections are refused, and a server that sets SO_REUSEADDR may take their ports. But nobody
else is given one: of 14,000 ports, a test run meets the same one twice now and then."""


def free_port(count: int = 1) -> int:
    """The first of `count` ports of 127.0.0.1 in a row, kept for the caller until this process ends."""
    while True:
        reserved: list[socket.socket] = []
        try:
            for number in range(count):
                reserved.append(socket.socket())
                reserved[-1].bind((LOOPBACK, number and reserved[0].getsockname()[1] + number))
        except (OSError, OverflowError):  # one of those that follow is in use, or there is none
            for each in reserved:
                each.close()
            continue
        for each in reserved:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _RESERVED.extend(reserved)
        return int(reserved[0].getsockname()[1])
