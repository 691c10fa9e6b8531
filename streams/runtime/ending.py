"""Ends the process if continuing could lose or duplicate data. A supervisor restarts it, and it recovers."""

import os
import sys
from typing import NoReturn

import structlog

log = structlog.get_logger()

RESTART_STATUS = 70
"""EX_SOFTWARE of sysexits.h: the supervisor restarts the process."""
NEEDS_REPAIR = 2
"""A person must fix something first. Every failed `ebbtide` command exits with this status."""


def end_process(reason: str) -> NoReturn:
    """Ends the process at once without clean-up, so that its open transaction is never committed."""
    log.critical("process_ends", reason=reason, status=RESTART_STATUS)
    leave(RESTART_STATUS)


def end_for_repair(reason: str) -> NoReturn:
    """Ends the process at once if a restart would fail in the same way. `reason` says what to fix."""
    log.critical("process_needs_repair", reason=reason, status=NEEDS_REPAIR)
    leave(NEEDS_REPAIR)


def leave(status: int) -> NoReturn:
    """Ends the process, even while its threads block."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
