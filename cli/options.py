"""What every command shares: its options, how it prints, and how it exits."""

import os
import sys
from enum import StrEnum
from typing import Annotated

import orjson
import typer
from rich.console import Console

from cli.environment import INSTANCES

WIDTH_OF_A_LOG = 120
console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_LOG)

EXIT_FAILED = 1
EXIT_USAGE = 2


class Format(StrEnum):
    """How findings are printed: for people, for programs, or as annotations of GitHub."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def _instance(value: str) -> str:
    if value not in INSTANCES:
        raise typer.BadParameter(f"no instance {value!r}; there are: {', '.join(INSTANCES)}")
    return value


Instance = Annotated[
    str, typer.Option("--instance", help="Which local servers: main, or the demo's.", callback=_instance)
]
EngineName = Annotated[str | None, typer.Option("--engine", help="native (default) or compose.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
