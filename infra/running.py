"""Running one part in the foreground, with the settings of an instance."""

import os
from pathlib import Path

from infra.environment import Environment
from infra.kafka import client_config


def run_streams_worker(environment: Environment, slot: int = 0) -> None:
    """The Faust worker of a slot, until a signal; does not return."""
    import faust

    from streams.app import configure_logging, create_app
    from streams.settings import StreamSettings

    client_config(environment.kafka)
    os.environ.update(environment.variables())
    configure_logging()
    app = create_app(StreamSettings(), slot)
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()


def run_senders_worker(environment: Environment) -> None:
    """The delivery worker, until a signal."""
    from senders.app import main
    from senders.settings import SenderSettings

    os.environ.update(environment.variables())
    make_dkim_key(environment)
    main(SenderSettings())


def make_dkim_key(environment: Environment) -> None:
    """Gives a local instance a signing key of its own; one that the settings name is the operator's to make."""
    from senders.dkim import generate_key

    key = environment.dkim_key
    if not key.exists() and key.parent == environment.home:
        key.parent.mkdir(parents=True, exist_ok=True)
        generate_key(key)


def run_sink_server(environment: Environment, directory: Path) -> None:
    """The SMTP sink, until a signal."""
    from infra.sink import serve

    serve(environment.ports.smtp, directory)
