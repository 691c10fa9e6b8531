"""Decides whose fault an error of PostgreSQL, Kafka or our own code is. No other module does.

If a server is at fault, its user waits until it answers, whatever the error class is. If one item (a record or a mail)
is, the error is that item's outcome. If the process is, it ends. Many errors do not tell: a missing column and a value
that no adapter knows are both a ProgrammingError. These are UNCLEAR, and the code that handles a batch decides by
evidence: the item is at fault if it fails alone while the same work succeeds without it.

SQLSTATE classes: PostgreSQL documentation, appendix A.
"""

import traceback
from enum import StrEnum
from pathlib import Path

import psycopg
from confluent_kafka import KafkaError, KafkaException

ROOT = Path(__file__).resolve().parents[2]
OURS = ("senders", "web")


class Fault(StrEnum):
    """Whose fault an error is."""

    SERVER = "server"
    ITEM = "item"
    PROCESS = "process"
    UNCLEAR = "unclear"


_SERVER_CLASSES = frozenset({"08", "40", "53", "57", "58"})
"""Connection, rollback that a retry may fix, resources such as a full disk, operator intervention, system error."""
_SERVER_STATES = frozenset({"25006", "25P03", "55006", "55P03", "XX001", "XX002"})
"""A read-only standby, a transaction that was idle for too long (as in a frozen process), an object in use, a lock not
granted in time, corrupted data or index."""
_ITEM_CLASSES = frozenset({"22", "23", "54"})
"""A value, a constraint, or a limit of the program such as the largest index row. The last is an OperationalError."""
_STATEMENT_CANCELLED = "57014"
"""Most often our own statement time-out, which says nothing about the server as a whole."""

PERMANENT = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._FATAL,  # also a consumer that another of its name has fenced; its `fatal()` is False
    }
)
"""Errors of Kafka that waiting does not fix."""
_TOO_MUCH = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.RECORD_LIST_TOO_LARGE})


def fault_of(error: BaseException) -> Fault:
    """Whose fault an error is, as far as the error itself tells."""
    match error:
        case psycopg.Error():
            return _of_postgres(error)
        case KafkaException():
            return fault_of_kafka(error.args[0])
        case _:
            return Fault.UNCLEAR


def fault_of_kafka(error: KafkaError) -> Fault:
    """The same for Kafka's own error values."""
    if error.fatal() or error.code() in PERMANENT:
        return Fault.PROCESS
    return Fault.ITEM if error.code() in _TOO_MUCH else Fault.SERVER


def is_fenced(error: BaseException) -> bool:
    """Whether a consumer's group took another member of its `group.instance.id` instead.

    librdkafka tells it as `_FATAL`, and only the text says why.
    """
    if not isinstance(error, KafkaException):
        return False
    found = error.args[0]
    return bool(found.code() == KafkaError._FATAL and "consumer fenced" in found.str())


def kafka_error(error: Exception) -> KafkaError | None:
    """The error of Kafka that a producer's call raised, also for a full queue; None for any other error."""
    if isinstance(error, BufferError):
        return KafkaError(KafkaError._QUEUE_FULL)
    return error.args[0] if isinstance(error, KafkaException) else None


def _of_postgres(error: psycopg.Error) -> Fault:
    state = error.sqlstate
    if state is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Fault.SERVER  # the connection: refused, lost, closed
        return Fault.ITEM if isinstance(error, psycopg.DataError) else Fault.UNCLEAR
    if state == _STATEMENT_CANCELLED:
        return Fault.UNCLEAR
    if state in _SERVER_STATES or state[:2] in _SERVER_CLASSES:
        return Fault.SERVER
    return Fault.ITEM if state[:2] in _ITEM_CLASSES else Fault.UNCLEAR


def describe(error: BaseException) -> str:
    """The exception's type and where it was raised, without its message, which may repeat personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(Path(frame.filename).is_relative_to(ROOT / each) for each in OURS)]
    if not frames:
        return type(error).__name__
    frame = (ours or frames)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno} ({frame.name})"
