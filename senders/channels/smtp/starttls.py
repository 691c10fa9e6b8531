"""What is known of a relay's STARTTLS, so that one that fails is not tried for each connection."""

import time
from collections.abc import Callable

import structlog

TRY_AGAIN_S = 900.0
"""How long connections go without TLS after STARTTLS failed. A server that was mended gets TLS again within this."""


class StarttlsMemory:
    """Where STARTTLS failed and until when it is left out. A failure is logged once, until STARTTLS works again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leave_out_until: dict[str, float] = {}
        self._log = structlog.get_logger("senders.channels.smtp.starttls")

    def fails_at(self, address: str) -> bool:
        """Whether STARTTLS failed at this IP address less than TRY_AGAIN_S ago."""
        return self._clock() < self._leave_out_until.get(address, float("-inf"))

    def failed(self, address: str, error: Exception) -> None:
        """Note that STARTTLS failed."""
        if address not in self._leave_out_until:
            self._log.warning(
                "starttls_failed",
                server=address,
                error=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                next_step="mail goes without TLS; mend the server, or set EBBTIDE_SMTP_TLS to required or never",
            )
        self._leave_out_until[address] = self._clock() + TRY_AGAIN_S

    def worked(self, address: str) -> None:
        """Note that STARTTLS worked."""
        if self._leave_out_until.pop(address, None) is not None:
            self._log.info("starttls_works", server=address)
