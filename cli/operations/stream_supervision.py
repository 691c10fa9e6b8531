"""A supervisor for the stream workers of one instance: what must be there before any of them is started."""

import asyncio
import os
import sys
from collections.abc import Iterable
from functools import partial

import structlog

from cli.environment import Environment
from infra.kafka.client import client_config
from infra.local.holders import is_free, require_free
from infra.service.processes import wait_until
from infra.service.stream_workers import Records, Roll, Supervision, as_process
from infra.service.supervisor import Supervisor
from infra.service.worker_slot import Slot

PARTITIONS_A_WORKER = 4
"""Fewer, and one partition more or less is a large part of a worker's load: some idle while others cannot keep up."""
LEFT_OVER_S = 2.0
"""How long the workers of a killed supervisor, killed with it, may take to let their ports go."""


def run_supervisor(environment: Environment, workers: int) -> int:
    """Runs `workers` stream workers until a signal; returns the exit status.

    Raises SupervisorRuns, KafkaAway, TopicsMissing, a settings error or SetupProblem (a port is taken) before any is
    started, each with one line that says what to do.
    """
    from infra.service.logs import configure_logging
    from streams.decisions.partitioning import user_partitions
    from streams.settings import StreamSettings

    records = Records(environment.data_dir)
    with records.supervising(environment.instance):
        settings = environment.settings(StreamSettings)
        client_config(environment.kafka)
        partitions = user_partitions(settings.connection)
        command = [sys.executable, "-m", "cli.main", "run", "streams", "--instance", environment.instance, "--slot"]
        slots = [Slot(number, settings.web_port + number, command, os.environ) for number in range(workers)]
        _require_ports(slots)
        configure_logging()
        _warn(workers, partitions)
        process, ports = as_process(os.getpid()), {slot.number: slot.port for slot in slots}

        def note(roll: Roll) -> None:
            records.note_supervision(Supervision(process, ports, roll))

        async def supervise() -> int:
            return await Supervisor(slots, note).run()

        return asyncio.run(supervise())


def _require_ports(slots: Iterable[Slot]) -> None:
    for slot in slots:
        wait_until(partial(is_free, slot.port), LEFT_OVER_S)
        require_free(slot.port, f"the web pages of stream worker {slot.number}")


def _warn(workers: int, partitions: int) -> None:
    log = structlog.get_logger(part="supervisor")
    cores = os.cpu_count() or 1
    if workers * PARTITIONS_A_WORKER > partitions:
        why = f"{partitions} partitions give fewer than {PARTITIONS_A_WORKER} to a worker, and an uneven load"
        log.warning("many_workers", workers=workers, why=why, next_step=f"--workers {partitions // 4 or 1}")
    if workers > cores:
        why = f"{cores} cores: a worker keeps one busy, more of them take turns"
        log.warning("many_workers", workers=workers, why=why, next_step=f"--workers {cores}")
