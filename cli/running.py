"""Running one part in the foreground, with the settings of an instance."""

import ctypes
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.environment import BOUNCES, PUBLICATION, SENDERS, STREAMS, WEB, Environment
from infra.kafka.client import KafkaAway, client_config, require_kafka
from infra.local.holders import require_free
from infra.service.health import WorkerIdentity
from infra.service.worker_registry import WorkerKind, as_process
from infra.service.worker_slot import KAFKA_AWAY, RESTARTS, SUPERVISOR, TURN

PR_SET_PDEATHSIG = 1


def run_streams_worker(environment: Environment, slot: int) -> None:
    """The Faust worker of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from streams.settings import StreamSettings

    with _worker_process(slot):
        settings = environment.settings(StreamSettings)
        client_config(environment.kafka)

        from streams.app import create_app
        from streams.faust.worker import StreamWorker

        app = create_app(settings, WorkerIdentity(slot, _restarts(), settings.web_port + slot))
    _begin(environment, STREAMS, slot)
    StreamWorker(app).execute_from_commandline()


def run_senders_worker(environment: Environment, slot: int) -> None:
    """The delivery worker of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from senders.settings import SenderSettings

    with _worker_process(slot):
        settings = environment.settings(SenderSettings)
        require_kafka(settings.kafka, secured=bool(settings.kafka_security))  # before imports that take a second

        from senders.app import main

        make_dkim_key(environment)
        # static membership: a worker that comes back within the session keeps its partitions
        name = f"{settings.sender_instance or socket.gethostname()}-{slot}"
        _begin(environment, SENDERS, slot)
        identity = WorkerIdentity(slot, _restarts(), settings.senders_web_port + slot)
        main(settings.model_copy(update={"sender_instance": name}), identity)


def run_bounces_worker(environment: Environment, slot: int) -> None:
    """The bounce listener of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from senders.bounces.settings import BounceSettings

    with _worker_process(slot):
        settings = environment.settings(BounceSettings)
        require_kafka(settings.kafka, secured=bool(settings.kafka_security))  # before imports that take a second

        from senders.bounces.app import main

        _begin(environment, BOUNCES, slot)
        main(settings, WorkerIdentity(slot, _restarts(), settings.bounces_web_port + slot))


def run_web_worker(environment: Environment, slot: int) -> None:
    """The HTTP process of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from web.settings import WebSettings

    with _worker_process(slot):
        settings = environment.settings(WebSettings)

        from web.app import check_start, main

        if SUPERVISOR not in os.environ:  # a supervisor has checked it, and Kafka may be away when it starts one again
            check_start(settings)

        _begin(environment, WEB, slot)
        main(settings, WorkerIdentity(slot, _restarts(), settings.http_web_port + slot))


def run_profiles_worker(environment: Environment, slot: int) -> None:
    """The profile worker of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from web.settings import ProfileSettings

    with _worker_process(slot):
        settings = environment.settings(ProfileSettings)

        from web.publication.app import check_start, main

        if SUPERVISOR not in os.environ:  # a supervisor has checked it, and Kafka may be away when it starts one again
            check_start(settings)

        _begin(environment, PUBLICATION, slot)
        main(settings, WorkerIdentity(slot, _restarts(), settings.profiles_web_port + slot))


@contextmanager
def _worker_process(slot: int) -> Iterator[None]:
    """Sets up a worker's process. Under a supervisor it dies with it, and ends with KAFKA_AWAY if no broker answers."""
    from infra.service.logs import configure_logging

    configure_logging(slot=slot)
    if SUPERVISOR not in os.environ:
        yield
        return
    import structlog
    from confluent_kafka import KafkaException

    die_with(int(os.environ[SUPERVISOR]))
    try:
        yield
    except (KafkaAway, KafkaException) as error:
        structlog.get_logger().warning("kafka_away", reason=str(error))
        raise SystemExit(KAFKA_AWAY) from None


def _restarts() -> int:
    return int(os.environ.get(RESTARTS, 0))


def _begin(environment: Environment, kind: WorkerKind, slot: int) -> None:
    """Waits for its turn if the worker is a successor, and registers it."""
    if TURN in os.environ:
        _await_turn(int(os.environ[TURN]))
    port = environment.page_port(kind) + slot
    require_free(port, f"the pages of {kind.title} {slot}")
    environment.registry(kind).note_worker(slot, as_process(os.getpid(), port))


def _await_turn(number: int) -> None:
    """Reports on this socket that the worker is loaded, and waits for the word to begin; ends if it is closed."""
    with socket.socket(fileno=number) as turn:
        turn.send(b"1")
        if not turn.recv(1):
            raise SystemExit(0)


def die_with(parent: int) -> None:
    """Makes the kernel kill this process when `parent` ends, however that ends; at once if it has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel knew
        raise SystemExit(128 + signal.SIGKILL)


def make_dkim_key(environment: Environment) -> None:
    """Gives a local instance a signing key of its own; one that the settings name is the operator's to make."""
    from senders.content.dkim import generate_key

    key = environment.dkim_key
    if not key.exists() and key.parent == environment.home:
        key.parent.mkdir(parents=True, exist_ok=True)
        generate_key(key)


def run_sink_server(environment: Environment, directory: Path) -> None:
    """The SMTP sink, until a signal."""
    from infra.local.sink import serve

    serve(environment.ports.smtp, directory)
