"""Remembers where STARTTLS failed, so that not every connection tries it again."""

import time
from collections.abc import Callable

import structlog

from senders.channels.smtp.host_memory import HostMemory

RETRY_AFTER_S = 900.0
"""How long connections do without TLS after STARTTLS failed, unless their lane says otherwise. A repaired server gets
TLS again within this time."""


class StarttlsMemory:
    """By IP address. A failure is logged once, until STARTTLS works again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = HostMemory(RETRY_AFTER_S, clock)
        self._log = structlog.get_logger("senders.channels.smtp.starttls")

    def failed_recently(self, address: str) -> bool:
        """Whether STARTTLS failed at this IP address less than RETRY_AFTER_S ago."""
        return self._failures.has(address)

    def failed(self, address: str, error: Exception, keep_s: float | None = None) -> None:
        """Note that STARTTLS failed, for `keep_s` if that is said."""
        if self._failures.note(address, keep_s):
            self._log.warning(
                "starttls_failed",
                server=address,
                error=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                next_step="mail goes without TLS; repair the server, or set EBBTIDE_SMTP_TLS to verified or off",
            )

    def worked(self, address: str) -> None:
        """Note that STARTTLS worked."""
        if self._failures.forget(address):
            self._log.info("starttls_works", server=address)
