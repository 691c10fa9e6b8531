"""What errors of PostgreSQL and of its client library mean, in words of our own. Pure; imports no psycopg.

They are taken from the texts: an error of connecting has no code. What is not known is repeated on one line.
"""

import re

_TRIED = re.compile(
    r'connection to server (?:at "([^"]*)"(?: \([^)]*\))?, port (\d+)|on socket "([^"]*)") failed: ([^\n]*)'
)
_WHY = (
    (r"connection refused", "nothing listens there"),
    (r"timeout expired|timed out", "no answer in time"),
    (r"password authentication failed|no password supplied", "it refuses the user or the password"),
    (r'database "([^"]+)" does not exist', r"it has no database \1"),
    (r'role "([^"]+)" does not exist', r"it has no user \1"),
    (r"too many clients|remaining connection slots|too many connections", "it takes no more connections"),
    (r"starting up|shutting down|in recovery mode", "it starts or stops at this moment"),
    (r"translate host name|failed to resolve host|name or service not known", "its host is not known"),
    (r"closed the connection|terminating connection|connection is lost", "it ended the connection"),
    (r"due to statement timeout", "it did not finish in time"),
    (r"no space left on device", "its disk is full"),
)
_ABSENT = re.compile(r'(?:relation|column|function|schema|table|type) "?([\w.]+)')
_UNREAD = re.compile(r'invalid input syntax for type ([\w ]+): "([^"\n]*)"')
_KINDS = {"numeric": "number", "double precision": "number", "integer": "whole number", "bigint": "whole number"}
_ZONE = re.compile(r'time zone "([^"\n]*)" not recognized')
_LONGEST = 200


def outage_words(error: Exception) -> str:
    """Why the server does not answer, for each host that was tried."""
    text = str(error).strip()
    tried = [f"{_place(*found)}: {_why(why)}" for *found, why in _TRIED.findall(text)]
    return ", ".join(tried) or _why(text or type(error).__name__)


def _place(host: str, port: str, socket: str) -> str:
    return socket or f"{host}:{port}"


def _why(text: str) -> str:
    for pattern, words in _WHY:
        if found := re.search(pattern, text, re.IGNORECASE):
            return found.expand(words)
    return re.sub(r"^[A-Z]+:\s+", "", text.splitlines()[0])[:_LONGEST]


def absent_name(error: Exception) -> str:
    """The table, column or function that the database does not have."""
    found = _ABSENT.search(str(error))
    return found[1] if found else "what it is asked for"


def value_words(error: Exception) -> str:
    """Which value the database cannot read."""
    text = str(error)
    if found := _UNREAD.search(text):
        return f"{found[2]!r} is no {_KINDS.get(found[1], found[1])}"
    if found := _ZONE.search(text):
        return f"{found[1]!r} is no time zone"
    return text.splitlines()[0][:_LONGEST] if text else type(error).__name__
