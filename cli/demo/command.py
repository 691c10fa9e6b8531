"""`ebbtide demo` on the command line."""

from typing import Annotated

import typer

from cli.operations.server_commands import engine_of
from cli.options import EXIT_FAILED, EngineName, console


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the simulated customers.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running.")] = False,
    engine: EngineName = None,
) -> None:
    """Run the whole pipeline on real servers and a real purchase log, then balance the books.

    Exits with 1 if they do not balance.

    Examples: `ebbtide demo`, `ebbtide demo --seed 7 --keep`
    """
    from cli.demo.main import run_demo

    environment, chosen = engine_of("demo", engine)
    raise typer.Exit(0 if run_demo(console, environment, chosen, seed, keep) else EXIT_FAILED)
