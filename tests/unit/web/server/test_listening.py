"""The socket that all HTTP processes share."""

import os
from typing import Any, cast

from web.server.granian_server import GranianServer
from web.server.listening import listen


def test_a_process_that_begins_leaves_the_shared_socket_as_the_others_need_it():
    """A process hangs in `accept` if another one makes the socket blocking."""
    with listen("127.0.0.1", 0) as listener:
        GranianServer(cast(Any, None), listener, 1.0)
        assert not os.get_blocking(listener.fileno())
