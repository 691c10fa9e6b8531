"""Publishes single events and profiles by hand, to try things out."""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from infra.kafka.publisher import Publisher
from schemas.codec import DecodeError, encode, parse_json, validate
from schemas.errors import UserError
from schemas.events import Event
from schemas.profiles import Profile
from schemas.topics import EVENTS, PROFILES
from schemas.types import Fact
from schemas.vocabulary import DeadLetterCause
from schemas.wording import closest
from schemas.zones import zone_hint, zone_named

F = TypeVar("F", bound=Fact)

_OTHER_NAMES = {
    **dict.fromkeys(("email", "mail", "e-mail", "email_address", "emailaddress"), "address"),
    **dict.fromkeys(("timezone", "time_zone", "tz", "zoneinfo"), "zone"),
    **dict.fromkeys(("language", "lang"), "locale"),
    **dict.fromkeys(("user", "userid", "uid", "customer_id"), "user_id"),
    **dict.fromkeys(("consents", "permissions"), "consent"),
    **dict.fromkeys(("event", "name", "event_type"), "type"),
    **dict.fromkeys(("timestamp", "at", "occurred_at"), "time"),
    **dict.fromkeys(("data", "payload", "props"), "properties"),
}
"""The names that other systems give to a field."""
LONGEST = timedelta(weeks=52 * 50)
"""The longest duration before now, so that the result is a valid date."""
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class InvalidFact(UserError):
    """The JSON is not a valid fact of its topic, or a duration is not one."""


def duration(text: str) -> timedelta:
    """Parses a duration of the rule language, such as 59m50s; raises InvalidFact."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise InvalidFact(f"{text!r} is not a duration; write it like 90s, 15m, 1h30m or 3d")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        found = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        found = timedelta.max
    if found > LONGEST:
        raise InvalidFact(f"{text!r} is too long; at most {LONGEST.days // 7}w")
    return found


def event_of(text: str, now: datetime, ago: timedelta = timedelta(0)) -> Event:
    """Parses an event; adds an id and a time if it has none. Raises InvalidFact."""
    data = _object(text)
    made_up = {"id": uuid.uuid4().hex, "time": (now - ago).isoformat()}
    try:
        return _checked(Event, data | {name: value for name, value in made_up.items() if data.get(name) is None})
    except InvalidFact as error:
        if "user_id" in data:
            raise
        raise InvalidFact(f'{error}; write "user_id": null for an event without a user') from None


def profile_of(text: str, now: datetime, purposes: Iterable[str] = ()) -> Profile:
    """Parses a profile and adds consent to `purposes`; raises InvalidFact."""
    data = _object(text)
    given = {purpose: {"granted": True, "time": now.isoformat(), "method": "by hand"} for purpose in purposes}
    consent = {} if data.get("consent") is None else data["consent"]
    if not isinstance(consent, dict):
        raise InvalidFact('consent: not a JSON object of purposes; write {"PURPOSE": {"granted": …, "time": …}}')
    return _checked(Profile, data | {"consent": consent | given})


def event_words(event: Event) -> str:
    """What was published, in a line."""
    whose = "without a user" if event.user_id is None else f"of {event.user_id}"
    return f"published {event.type} {event.id} {whose}, {event.time:%Y-%m-%d %H:%M:%S} UTC"


def publish_event(kafka: str, event: Event) -> None:
    """Publishes the event."""
    with Publisher(kafka) as publisher:
        publisher.send(EVENTS.name, None if event.user_id is None else event.user_id.encode(), encode(event))


def publish_profile(kafka: str, profile: Profile) -> None:
    """Publishes the profile."""
    with Publisher(kafka) as publisher:
        publisher.send(PROFILES.name, profile.user_id.encode(), encode(profile))


def profile_warnings(profile: Profile) -> list[str]:
    """Likely mistakes in a valid profile, each with what to write instead."""
    if not profile.zone or zone_named(profile.zone) is not None:
        return []
    hint = zone_hint(profile.zone)
    return [f"zone: {profile.zone!r} is not a time zone, so the project's default_zone applies; {hint}"]


def unknown_fields(text: str, model: type[Event] | type[Profile]) -> list[str]:
    """Warnings about unknown fields: a newer publisher may have them, but a person has probably misspelt them."""
    inside = "attributes" if model is Profile else "properties"
    return [
        f"unknown field `{key}`; {_meant_field(key, model, inside)}"
        for key in _object(text)
        if key not in model.model_fields
    ]


def _meant_field(key: str, model: type[Event] | type[Profile], inside: str) -> str:
    like = _OTHER_NAMES.get(key.casefold(), "")
    if like not in model.model_fields:
        like = closest(key.casefold(), model.model_fields, 0.75)
    return (
        f"did you mean `{like}`?"
        if like
        else f'what rules read belongs in `{inside}`, as in "{inside}": {{"{key}": …}}'
    )


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def _object(text: str) -> dict[str, Any]:
    try:
        data = parse_json(text.encode("utf-8", "surrogateescape"))
    except DecodeError as error:
        if error.cause is DeadLetterCause.NOT_JSON:
            raise InvalidFact(f"not JSON: {error}; put the object in single quotes") from None
        raise InvalidFact(error.detail) from None
    if not isinstance(data, dict):
        raise InvalidFact("not a JSON object")
    return data


def _checked(model: type[F], data: dict[str, Any]) -> F:
    try:
        return validate(model, data)
    except DecodeError as error:
        raise InvalidFact(error.detail) from None
