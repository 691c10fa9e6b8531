"""The options that tell a command of a user, an event, an occurrence and segments."""

from typing import Annotated

import typer

UserFile = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="FILE|JSON",
        help="The user as in a case: attributes, zone, score, metric; or a profile. JSON or YAML, - for stdin.",
    ),
]
EventFile = Annotated[
    str | None,
    typer.Option(
        "--event",
        metavar="FILE|JSON",
        help="""The event in a file of JSON or YAML, - for stdin; or itself, as '{"properties": {"total": 25}}'.""",
    ),
]
OccurrenceFile = Annotated[
    str | None,
    typer.Option(
        "--occurrence",
        metavar="FILE|JSON",
        help="The occurrence: id, key, entered_at, variant, event, matched, events.",
    ),
]
InSegments = Annotated[
    list[str] | None, typer.Option("--segment", metavar="NAME", help="A segment that the user is in; may be repeated.")
]
