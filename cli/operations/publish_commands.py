"""`ebbtide publish`: single events and profiles by hand."""

from typing import Annotated

import typer

from cli.environment import Environment
from cli.options import Instance, console

HELP = """Publish an event or a profile by hand, to try things out.

Example: `ebbtide publish event '{"type": "product_viewed", "user_id": "u1"}'`"""
app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command("event")
def publish_event(
    text: Annotated[str, typer.Argument(metavar="JSON", help="The event; id and time are optional.")],
    ago: Annotated[str, typer.Option(help="How long ago it happened, such as 59m50s.")] = "0s",
    instance: Instance = "main",
) -> None:
    """Publish an event.

    Example: `ebbtide publish event '{"type": "product_viewed", "user_id": "u1"}' --ago 59m50s`
    """
    from cli.operations import publish
    from schemas.events import Event

    event = publish.event_of(text, publish.now(), publish.duration(ago))
    publish.publish_event(Environment.of(instance).kafka, event)
    console.print(publish.event_words(event))
    for warning in publish.unknown_fields(text, Event):
        typer.echo(f"warning: {warning}", err=True)


@app.command("profile")
def publish_profile(
    text: Annotated[str, typer.Argument(metavar="JSON", help="The profile.")],
    consent: Annotated[list[str] | None, typer.Option(help="A purpose that the user consents to; repeatable.")] = None,
    instance: Instance = "main",
) -> None:
    """Publish a profile. It replaces the whole previous profile.

    Example: `ebbtide publish profile '{"user_id": "u1", "address": "u1@mail.example"}' --consent marketing`
    """
    from cli.operations import publish
    from schemas.profiles import Profile

    profile = publish.profile_of(text, publish.now(), consent or [])
    publish.publish_profile(Environment.of(instance).kafka, profile)
    console.print(f"published the profile of {profile.user_id}")
    for warning in (*publish.unknown_fields(text, Profile), *publish.profile_warnings(profile)):
        typer.echo(f"warning: {warning}", err=True)
