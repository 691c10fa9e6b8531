"""The end of the process where going on could lose or double something. A supervisor starts it again; it recovers."""

import os
import sys
from typing import NoReturn

import structlog

log = structlog.get_logger()

STATUS = 70
"""EX_SOFTWARE of sysexits.h."""


def end_process(reason: str) -> NoReturn:
    """Ends the process at once, without any clean-up: its open transaction must not be committed by mistake."""
    log.critical("process_ends", reason=reason, status=STATUS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STATUS)
