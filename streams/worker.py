"""Faust's worker as we run it: in the foreground until a signal, our logs, no banner, gone as soon as it stops."""

import faust


class Worker(faust.Worker):
    """Runs one application, with `execute_from_commandline`. `configure_logging` comes before it."""

    def __init__(self, app: faust.App) -> None:
        super().__init__(app, override_logging=False, redirect_stdouts=False, quiet=True)
        self.spinner = None  # it writes to the terminal however quiet the worker is

    async def _sentinel_task(self) -> None:
        """Nothing: Faust sleeps for a second at its very end, which every restart would be longer by."""
