"""Faust's worker as we run it: in the foreground until a signal, with our logs, without a banner, ending at once."""

import gc
from typing import NoReturn

import faust

from streams.runtime.ending import leave

GC_THRESHOLDS = (100_000, 50, 1_000)
"""The garbage collector runs rarely: a worker creates hardly any cycles, and scanning what a batch of a thousand
records allocates took a tenth of its time. State at rest is bytes, which the collector does not scan."""


class StreamWorker(faust.Worker):
    """Runs one application, with `execute_from_commandline`. `configure_logging` comes before it."""

    def __init__(self, app: faust.App) -> None:
        super().__init__(app, override_logging=False, redirect_stdouts=False, quiet=True)
        gc.set_threshold(*GC_THRESHOLDS)
        self.spinner = None  # it writes to the terminal even with quiet=True

    def execute_from_commandline(self) -> NoReturn:
        """Runs until a signal, then ends the process, even if a thread still waits for a broker that is away."""
        try:
            super().execute_from_commandline()
        except SystemExit as ended:
            leave(ended.code if isinstance(ended.code, int) else 0)

    async def _sentinel_task(self) -> None:
        """Nothing: Faust's own sleeps for a second at the end, which would delay every restart."""
