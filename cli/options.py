"""What all commands share: options, output and exit statuses."""

import getpass
import os
import sys
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
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
    """How findings are printed for people: as text, or for GitHub. Programs ask for JSON by --json."""

    TEXT = "text"
    GITHUB = "github"


def _instance(value: str) -> str:
    if value not in INSTANCES:
        raise typer.BadParameter(f"unknown instance {value!r}; use {' or '.join(INSTANCES)}")
    return value


Instance = Annotated[
    str, typer.Option("--instance", help="The local servers to use: main or demo.", callback=_instance)
]
EngineName = Annotated[str | None, typer.Option("--engine", help="How the servers run: native (default) or compose.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Shown = Annotated[Format, typer.Option("--format", help="Print text, or annotations of a pull request on GitHub.")]


def print_json(value: object) -> None:
    """Prints a value as one line of JSON on standard output."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")


def say_written(file: Path) -> None:
    """Says that a file is written, on standard error: standard output may be data."""
    typer.echo(f"wrote {file}", err=True)


def duration_of(text: str, option: str) -> timedelta:
    """The duration that an option says, longer than nothing; raises BadParameter."""
    from senders.shaping.quantities import parse_duration

    try:
        length = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if length <= timedelta(0):
        raise typer.BadParameter("must be longer than nothing", param_hint=option)
    return length


def login() -> str:
    """The login of the user; empty if the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def person(by: str, does: str = "makes the change") -> str:
    """Who does something: the given name, or else the login. Raises BadParameter if there is neither."""
    if name := by.strip() or login():
        return name
    raise typer.BadParameter(f"say who {does}: the system knows no login of yours", param_hint="--by")
