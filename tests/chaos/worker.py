"""The real application with a mistake in it, for the controls: violations of exactly-once must be reported.

CHAOS_MISTAKE is `split`, offsets in a second transaction; or `awaiting`, an agent that suspends inside a batch, and
a gate that lets checkpoints come before it is finished, where the real one waits.
"""

import os
import sys
from typing import Any

import faust
from drivers.runtime_app import AwaitingRuntime, SplitCommitter, wait_for_nobody

import streams.app
from infra.service.health import WorkerIdentity
from infra.service.logs import configure_logging
from streams.app import create_app
from streams.faust.runtime import Runtime
from streams.settings import StreamSettings


class Split(Runtime):
    """Commits outputs and state first, and the offsets after them."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, committer=SplitCommitter)


class Awaiting(AwaitingRuntime):
    """Suspends in the middle of batches, where a checkpoint may come between, because it does not wait."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        wait_for_nobody(self)


MISTAKES: dict[str, type[Runtime]] = {"split": Split, "awaiting": Awaiting}

if __name__ == "__main__":
    configure_logging()
    streams.app.Runtime = MISTAKES[os.environ["CHAOS_MISTAKE"]]  # type: ignore[misc]
    settings, slot = StreamSettings(), int(sys.argv[1])
    app = create_app(settings, WorkerIdentity(slot, 0, settings.web_port + slot))
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()
