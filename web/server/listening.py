"""The socket on which the HTTP processes of a machine accept connections."""

import os
import socket

from infra.service.worker_slot import LISTENER

BACKLOG = 1_024


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens. `shared` lets other processes listen on the port too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def own_listener(host: str, port: int) -> socket.socket:
    """The socket of this process: that of its supervisor, or one beside those of other processes. Raises OSError."""
    passed = os.environ.get(LISTENER)
    return listen(host, port, shared=True) if passed is None else socket.socket(fileno=int(passed))
