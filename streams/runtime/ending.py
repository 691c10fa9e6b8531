"""The end of the process where going on could lose or double something. A supervisor starts it again; it recovers."""

import os
import sys
from typing import NoReturn

import structlog

log = structlog.get_logger()

STATUS = 70
"""EX_SOFTWARE of sysexits.h: start it again."""
REFUSED = 2
"""A person must mend something first: the status of every `ebbtide` command that could not be done."""


def end_process(reason: str) -> NoReturn:
    """Ends the process at once, without any clean-up: its open transaction must not be committed by mistake."""
    log.critical("process_ends", reason=reason, status=STATUS)
    leave(STATUS)


def refuse(reason: str) -> NoReturn:
    """Ends the process at once where starting it again would end the same way. `reason` says what to mend."""
    log.critical("process_refuses", reason=reason, status=REFUSED)
    leave(REFUSED)


def leave(status: int) -> NoReturn:
    """Ends the process, whatever its threads wait for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
