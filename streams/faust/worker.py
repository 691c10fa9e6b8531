"""Faust's worker as we run it: in the foreground until a signal, our logs, no banner, gone as soon as it stops."""

import gc
from typing import NoReturn

import faust

from streams.runtime.ending import leave

RARELY = (100_000, 50, 1_000)
"""How seldom a worker looks for cycles of garbage: it makes hardly any, and looking through what a run of a thousand
records allocates took a tenth of its time. State at rest is bytes, which are not looked through at all."""


class StreamWorker(faust.Worker):
    """Runs one application, with `execute_from_commandline`. `configure_logging` comes before it."""

    def __init__(self, app: faust.App) -> None:
        super().__init__(app, override_logging=False, redirect_stdouts=False, quiet=True)
        gc.set_threshold(*RARELY)
        self.spinner = None  # it writes to the terminal however quiet the worker is

    def execute_from_commandline(self) -> NoReturn:
        """Runs until a signal, and ends the process: a thread that asks a broker which is away would keep it."""
        try:
            super().execute_from_commandline()
        except SystemExit as ended:
            leave(ended.code if isinstance(ended.code, int) else 0)

    async def _sentinel_task(self) -> None:
        """Nothing: Faust sleeps for a second at its very end, which every restart would be longer by."""
