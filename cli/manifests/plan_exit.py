"""The exit status of `plan`: 0 where nothing would change, 2 where something would, 1 for every error.

Elsewhere 2 is an error. A CI job that publishes on 2 must never take a typing mistake or a broker that is away for a
change, so this command ends with 1 for those too.
"""

from typing import Any

import typer
from typer.core import TyperCommand

from cli.errors import one_line, refuse
from cli.options import EXIT_FAILED

NO_CHANGE, CHANGE = 0, 2


class PlanCommand(TyperCommand):
    """A command that ends with 1 for an error of any kind."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Reads the arguments."""
        try:
            return super().make_context(*args, **more)
        except Exception as error:
            _set_failed(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except Exception as error:
            _set_failed(error)
            if (line := one_line(error)) is None:
                raise  # a defect keeps its trace
            refuse(error, line, EXIT_FAILED)


def _set_failed(error: Exception) -> None:
    """Gives a wrong use of the command our status. Typer has no public name for the class of these errors."""
    if hasattr(error, "exit_code") and not isinstance(error, typer.Exit):
        error.exit_code = EXIT_FAILED
