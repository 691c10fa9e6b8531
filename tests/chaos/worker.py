"""The real application with a mistake in it, for the controls: violations of exactly-once must be reported.

CHAOS_MISTAKE is `split`, offsets in a second transaction; or `awaiting`, an agent that suspends inside a batch, and
a gate that lets checkpoints come before it is finished, where the real one waits.
"""

import os
import signal
import sys
from typing import Any

import faust
from drivers.runtime_app import AwaitingRuntime, SplitCommitter, wait_for_nobody

import streams.app
from infra.service.health import WorkerIdentity
from infra.service.logs import configure_logging
from streams.app import create_app
from streams.faust.runtime import Runtime
from streams.runtime.checkpoint import Transaction
from streams.runtime.commit import CommitOutcome
from streams.settings import StreamSettings
from triggers.rules.seen import SEEN_IDS


class Split(Runtime):
    """Commits outputs and state first, and the offsets after them."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, committer=SplitCommitter)


class Awaiting(AwaitingRuntime):
    """Suspends in the middle of batches, where a checkpoint may come between, because it does not wait.

    With CHAOS_DIES it dies there, as soon as the first half of a batch is so large that its records are not all known
    as repeated when they are read again.
    """

    long_awaits = sys.maxsize

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        wait_for_nobody(self)
        self._commits = 0

    def _checkpointed(self, transaction: Transaction, result: CommitOutcome, took_s: float) -> None:
        super()._checkpointed(transaction, result, took_s)
        self._commits += result is CommitOutcome.OK

    async def suspend(self, applied: int) -> None:
        before = self._commits
        await super().suspend(applied)
        if "CHAOS_DIES" in os.environ and applied > DIES_AFTER and self._commits > before:
            os.kill(os.getpid(), signal.SIGKILL)


DIES_AFTER = 2 * SEEN_IDS
"""Records of a partition, in which a control has two users."""
MISTAKES: dict[str, type[Runtime]] = {"split": Split, "awaiting": Awaiting}


def main() -> None:
    """The worker of the slot that the arguments name."""
    configure_logging()
    streams.app.Runtime = MISTAKES[os.environ["CHAOS_MISTAKE"]]  # type: ignore[misc]
    settings, slot = StreamSettings(), int(sys.argv[1])
    app = create_app(settings, WorkerIdentity(slot, 0, settings.web_port + slot))
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()
