"""Broadcasts: events without a user on their way to the users who wait for them."""

from schemas.events import Event
from schemas.types import Id


class Broadcast(Event):
    """An event without a user, for one partition: for all its users, or for those that are named.

    Stream workers write it to every partition of `broadcasts`, and there once more for each hundred users who wait for
    it, with their names, so that other records of the partition are applied between.
    """

    users: list[Id] | None = None


def broadcast_of(event: Event, users: list[str] | None = None) -> Broadcast:
    """The event for these users, or for all."""
    return Broadcast(**{name: getattr(event, name) for name in Event.model_fields}, users=users)
