"""A supervisor for the workers of one kind and instance: what must be there before it starts any of them."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from cli.environment import BOUNCES, PUBLICATION, SENDERS, STREAMS, WEB, Environment
from cli.running import make_dkim_key
from infra.kafka.client import client_config, require_kafka
from infra.local.holders import is_free, require_free
from infra.service.processes import wait_until
from infra.service.supervisor import Supervisor
from infra.service.worker_registry import RollingRestart, Supervision, WorkerKind, as_process
from infra.service.worker_slot import Slot

PARTITIONS_PER_WORKER = 4
"""With fewer, one partition more or less is a large part of a stream worker's load: some workers idle while others
cannot keep up."""
LEFT_OVER_S = 2.0
"""How long the workers of a killed supervisor, killed with it, may take to release their ports."""


def run_supervisor(environment: Environment, kind: WorkerKind, workers: int) -> int:
    """Runs `workers` workers until a signal; returns the exit status.

    Raises SupervisorRuns, KafkaAway, TopicsMissing, a settings error or SetupProblem (a port is taken) before it starts
    any, each with one line that says what to do.
    """
    from infra.service.logs import configure_logging

    registry = environment.registry(kind)
    with registry.supervising():
        partitions = _CHECKS[kind.name](environment)
        command = [sys.executable, "-m", "cli.main", "run", kind.name, "--instance", environment.instance, "--slot"]
        port = environment.page_port(kind)
        listener = _listener(environment) if kind is WEB else None
        slots = [Slot(number, port + number, command, os.environ, listener) for number in range(workers)]
        _require_ports(kind, slots)
        configure_logging()
        _warn(kind, workers, partitions)
        process, ports = as_process(os.getpid()), {slot.number: slot.port for slot in slots}

        def report(restart: RollingRestart) -> None:
            registry.note_supervision(Supervision(process, ports, restart))

        async def supervise() -> int:
            return await Supervisor(slots, report).run()

        return asyncio.run(supervise())


def _check_streams(environment: Environment) -> int:
    """Raises what would keep every stream worker from starting; returns the number of partitions."""
    from streams.decisions.partitioning import user_partitions
    from streams.settings import StreamSettings

    settings = environment.settings(StreamSettings)
    client_config(environment.kafka)
    return user_partitions(settings.connection)


def _check_senders(environment: Environment) -> int:
    """Raises what would keep every delivery worker from starting; returns the number of partitions."""
    from senders.settings import SenderSettings

    settings = environment.settings(SenderSettings)
    require_kafka(settings.kafka, secured=bool(settings.kafka_security))  # before imports that take a second

    from senders.app import check_start

    make_dkim_key(environment)
    return check_start(settings)


def _check_bounces(environment: Environment) -> None:
    """Raises what would keep every bounce listener from starting."""
    from senders.bounces.settings import BounceSettings

    settings = environment.settings(BounceSettings)
    require_kafka(settings.kafka, secured=bool(settings.kafka_security))

    from senders.bounces.app import check_start

    check_start(settings)


def _check_web(environment: Environment) -> None:
    """Raises what would keep every HTTP process from starting."""
    from web.settings import WebSettings

    settings = environment.settings(WebSettings)
    require_kafka(settings.kafka, secured=bool(settings.kafka_security))

    from web.app import check_start

    check_start(settings)


def _check_profiles(environment: Environment) -> int:
    """Raises what would keep every profile worker from starting; returns the number of partitions."""
    from web.settings import ProfileSettings

    settings = environment.settings(ProfileSettings)
    require_kafka(settings.kafka, secured=bool(settings.kafka_security))

    from web.publication.app import check_start

    return check_start(settings)


def _listener(environment: Environment) -> int:
    """The descriptor of the socket on which all HTTP processes accept connections; it lives as long as this process."""
    from web.server.listening import listen
    from web.settings import WebSettings

    settings = environment.settings(WebSettings)
    wait_until(partial(is_free, settings.http_port), LEFT_OVER_S)
    require_free(settings.http_port, "HTTP")
    return listen(settings.http_host, settings.http_port).detach()


_CHECKS: dict[str, Callable[[Environment], int | None]] = {
    STREAMS.name: _check_streams,
    SENDERS.name: _check_senders,
    BOUNCES.name: _check_bounces,
    WEB.name: _check_web,
    PUBLICATION.name: _check_profiles,
}


def _require_ports(kind: WorkerKind, slots: Iterable[Slot]) -> None:
    for slot in slots:
        wait_until(partial(is_free, slot.port), LEFT_OVER_S)
        require_free(slot.port, f"the pages of {kind.title} {slot.number}")


def _warn(kind: WorkerKind, workers: int, partitions: int | None) -> None:
    log = structlog.get_logger(part="supervisor")
    cores, per_worker = os.cpu_count() or 1, PARTITIONS_PER_WORKER if kind is STREAMS else 1
    if partitions is not None and workers * per_worker > partitions:
        why = f"{partitions} partitions give fewer than {per_worker} to a worker, and an uneven load"
        log.warning("many_workers", workers=workers, why=why, next_step=f"--workers {partitions // per_worker or 1}")
    if kind is STREAMS and workers > cores:
        why = f"{cores} cores: a worker keeps one busy, more of them take turns"
        log.warning("many_workers", workers=workers, why=why, next_step=f"--workers {cores}")
