"""Running one part in the foreground, with the settings of an instance."""

import os
from pathlib import Path

from infra.environment import Environment


def run_streams_worker(environment: Environment) -> None:
    """The Faust worker, until a signal; does not return."""
    import faust

    from streams.app import configure_logging, create_app
    from streams.settings import StreamSettings

    os.environ.update(environment.variables())
    configure_logging()
    app = create_app(StreamSettings())
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()


def run_senders_worker(environment: Environment) -> None:
    """The delivery worker, until a signal."""
    from senders.app import main
    from senders.settings import SenderSettings

    os.environ.update(environment.variables())
    main(SenderSettings())


def run_sink_server(environment: Environment, directory: Path) -> None:
    """The SMTP sink, until a signal."""
    from infra.sink import serve

    serve(environment.ports.smtp, directory)
