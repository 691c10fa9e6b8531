"""Which errors a person can act on, and how the command line prints them: one line, and an exit status."""

import errno
import os
import re
import sys
from typing import Any, NoReturn

from cli.options import EXIT_USAGE
from infra.postgres.error_words import outage_words
from schemas.errors import UserError
from schemas.mistakes import mistake_words

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def one_line(error: Exception) -> str | None:
    """What to print for an error that a person can act on, with the next step; None for a defect.

    The classes of Kafka, PostgreSQL and pydantic are compared by name: importing all three costs a command a second.
    """
    if isinstance(error, UserError):
        return error.line
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; give another path, or fix this one"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"{str(error.strerror).lower()}: nothing more can be written here"
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if "cimpl.KafkaException" in names:
        return f"Kafka does not answer ({error.args[0].str()}); `make status` shows what runs, `make up` starts it"
    if names & {"psycopg.OperationalError", "psycopg.errors.IdleInTransactionSessionTimeout"}:
        return (
            f"TimescaleDB does not answer ({outage_words(error)}); `make status` shows what runs, `make up` starts it"
        )
    return _wrong_setting(error, names)


def _wrong_setting(error: Any, names: set[str]) -> str | None:
    if "pydantic_settings.exceptions.SettingsError" in names and (field := re.search(r'field "(\w+)"', str(error))):
        shapes = '["one", "two"] or {"name": "value"}'
        return f"setting EBBTIDE_{field[1].upper()}: not JSON, such as {shapes}"
    if "pydantic_core._pydantic_core.ValidationError" not in names or not error.title.endswith("Settings"):
        return None
    wrong = error.errors(include_input=False)[0]
    message = mistake_words(wrong)
    if not wrong["loc"]:  # about several settings; it names them
        return message
    return f"setting EBBTIDE_{'_'.join(map(str, wrong['loc'])).upper()}: {message}"


def refuse(error: Exception, line: str, status: int | None = None) -> NoReturn:
    """Prints the line and ends the program with the error's exit status, or with the given one."""
    from infra.service.worker_slot import SUPERVISOR

    if SUPERVISOR in os.environ:  # every line of a worker's log is JSON
        import structlog

        structlog.get_logger().critical("refused", reason=line)
    else:
        sys.stderr.write(f"ebbtide: {line}\n")
    if status is None:
        status = error.exit_status if isinstance(error, UserError) else EXIT_USAGE
    raise SystemExit(status)
