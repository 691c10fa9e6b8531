"""A profile worker from start to exit: what must be there before it starts, and how it ends."""

import asyncio
from functools import partial

from infra.kafka.partition_counts import ask_partition_count
from infra.service.ending import Deadline, run_until_signalled
from infra.service.health import WorkerIdentity
from schemas.topics import DEAD_LETTERS, EVENTS, OUTCOMES, PROFILES
from web.publication.process import PublicationProcess
from web.settings import ProfileSettings

END_WITHIN_S = 6.0


def main(settings: ProfileSettings, identity: WorkerIdentity | None = None) -> None:
    """Publish until SIGTERM or SIGINT; then the process ends. Never returns. Raises UserError if it cannot start."""
    publish = partial(run, settings, identity=identity)
    run_until_signalled(publish, "web.publication.app", Deadline(END_WITHIN_S), identity)


def check_start(settings: ProfileSettings) -> int:
    """How many partitions the topics have. Raises KafkaAway, AccessDenied or TopicsMissing."""
    return ask_partition_count(settings.connection, [EVENTS.name, PROFILES.name, OUTCOMES.name], [DEAD_LETTERS.name])


async def run(settings: ProfileSettings, stop: asyncio.Event, identity: WorkerIdentity | None = None) -> None:
    """Publish until `stop` is set. Raises UserError, or OSError if a port is taken."""
    await PublicationProcess(settings, lambda: check_start(settings), identity).run(stop)
