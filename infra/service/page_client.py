"""Reads the pages of a worker on this machine."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

TIMEOUT_S = 2.0
"""How long a worker may take to answer: its event loop is busy for some tens of milliseconds, never longer."""


def read_page(port: int, page: str) -> tuple[int, Any] | None:
    """The HTTP status and the JSON that the worker on `port` answers; None if none comes in time. Blocks."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
