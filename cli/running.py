"""Running one part in the foreground, with the settings of an instance."""

import ctypes
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from cli.environment import Environment
from infra.kafka.client import KafkaAway, client_config, require_kafka
from infra.local.holders import require_free
from infra.service.stream_workers import Records, as_process
from infra.service.worker_slot import BROKER_AWAY, RESTARTS, SUPERVISOR, TURN

if TYPE_CHECKING:
    import faust

PR_SET_PDEATHSIG = 1


def run_streams_worker(environment: Environment, slot: int) -> None:
    """The Faust worker of a slot, until a signal; does not return. Under a supervisor it dies with it."""
    from infra.service.logs import configure_logging
    from streams.faust.worker import StreamWorker

    supervised = SUPERVISOR in os.environ
    if supervised:
        die_with(int(os.environ[SUPERVISOR]))
    configure_logging(slot=slot)
    app = _app_where_kafka_answers(environment, slot) if supervised else _app(environment, slot)
    if TURN in os.environ:
        _await_turn(int(os.environ[TURN]))
    port = environment.web_port + slot
    require_free(port, f"the web pages of stream worker {slot}")
    Records(environment.data_dir).note_worker(slot, as_process(os.getpid(), port))
    StreamWorker(app).execute_from_commandline()


def _app(environment: Environment, slot: int) -> "faust.App":
    from streams.app import create_app
    from streams.settings import StreamSettings

    settings = environment.settings(StreamSettings)
    client_config(environment.kafka)
    return create_app(settings, slot, int(os.environ.get(RESTARTS, 0)))


def _app_where_kafka_answers(environment: Environment, slot: int) -> "faust.App":
    """The same; ends the process with BROKER_AWAY where Kafka does not answer, so that the supervisor tries again."""
    import structlog
    from confluent_kafka import KafkaException

    try:
        return _app(environment, slot)
    except (KafkaAway, KafkaException) as error:
        structlog.get_logger().warning("kafka_away", reason=str(error))
        raise SystemExit(BROKER_AWAY) from None


def _await_turn(number: int) -> None:
    """Reports on this socket that the worker is loaded, and waits for the word to begin; ends where it is closed."""
    with socket.socket(fileno=number) as turn:
        turn.send(b"1")
        if not turn.recv(1):
            raise SystemExit(0)


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` ends, however that ends; at once where it has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel knew
        raise SystemExit(128 + signal.SIGKILL)


def run_senders_worker(environment: Environment) -> None:
    """The delivery worker, until a signal; raises KafkaAway where no broker answers when it starts."""
    from senders.settings import SenderSettings

    settings = environment.settings(SenderSettings)
    require_kafka(settings.kafka, secured=bool(settings.kafka_security))  # before what takes a second to import

    from senders.app import main

    make_dkim_key(environment)
    main(settings)


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
