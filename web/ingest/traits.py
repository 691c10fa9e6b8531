"""What `identify` says of a user, as values of the profile: checked here, since nobody can be told afterwards.

`email`, `timezone` and `locale` are the profile's address, zone and locale, and `consent` its consent. Every other
trait is an attribute. Null takes a value away.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson
from msgspec import Raw

from schemas.addresses import plain_address
from schemas.codec import DecodeError, parse_json, validate
from schemas.profile_records import refusals_in
from schemas.profiles import Consent
from schemas.types import NAME
from schemas.zones import zone_named
from web.ingest.moments import AHEAD, EPOCH
from web.ingest.reading import Refused
from web.ingest.records import reason_of

_LONGEST_LOCALE = 35
_MOST_POINTS = 10
"""Each part of a domain with other letters than ASCII costs some 10 µs, and a call may have thousands of addresses."""
_NAME = re.compile(NAME)
_PROOF = ("time", "method", "text_version")
REFUSED_WITH_MORE = "call refused"
"""The method of a refusal of consent in a call of which nothing else is taken."""


def traits_of(raw: Raw, field: str) -> dict[str, Any]:
    """The traits that a call carries; none if they are absent or null. Raises Refused."""
    if not (sent := bytes(raw)):
        return {}
    try:
        traits = parse_json(sent)
    except DecodeError as error:
        raise Refused(field, reason_of(error)) from None
    if traits is None:
        return {}
    if not isinstance(traits, dict):
        raise Refused(field, "must be an object")
    return traits


def values_of(traits: dict[str, Any]) -> dict[str, Any]:
    """Takes the values of a profile out of `traits`, which keeps its attributes. Raises Refused."""
    values: dict[str, Any] = {}
    for trait, name, checked in (
        ("email", "address", _address),
        ("timezone", "zone", _zone),
        ("locale", "locale", _locale),
    ):
        if trait in traits:
            value = traits.pop(trait)
            values[name] = None if value is None else checked(value)
    return values


def consent_of(traits: dict[str, Any], received: datetime) -> dict[str, Consent]:
    """Takes the answers by purpose out of `traits`. Each must have its proof: time, method and text version."""
    answers = traits.pop("consent", None)
    if answers is None:
        return {}
    if not isinstance(answers, dict):
        raise Refused("traits.consent", "must be an object of answers by purpose")
    return {_purpose(purpose): _answer(answer, received) for purpose, answer in answers.items()}


def refusals_of(sent: Iterable[Raw], received: datetime) -> dict[str, Consent]:
    """The refusals of consent in traits that are not taken otherwise; without a right time, of the time received."""
    found: dict[str, Consent] = {}
    for raw in sent:
        try:
            traits = orjson.loads(bytes(raw) or b"null")
        except orjson.JSONDecodeError:
            continue
        for purpose, said in refusals_in(traits.get("consent") if isinstance(traits, dict) else None).items():
            time = said if said is not None and EPOCH <= said <= received + AHEAD else received
            found[purpose] = Consent(granted=False, time=time, method=REFUSED_WITH_MORE)
    return found


def _purpose(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Refused("traits.consent", "has a purpose that is no name")
    return name


def _answer(answer: Any, received: datetime) -> Consent:
    if not isinstance(answer, Mapping) or not isinstance(answer.get("granted"), bool):
        raise Refused("traits.consent", "each answer needs granted, true or false")
    if not all(isinstance(answer.get(proof), str) and answer[proof] for proof in _PROOF):
        raise Refused("traits.consent", "each answer needs its time, method and text_version")
    try:
        consent = validate(Consent, answer)
    except DecodeError as error:
        raise Refused(f"traits.consent.{min(error.fields)}", "is not valid") from None
    if consent.time > received + AHEAD:
        raise Refused("traits.consent.time", "lies ahead")
    return consent


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("traits.email", "must be text")
    if not value.isascii() and value.count(".") > _MOST_POINTS:
        raise Refused("traits.email", f"has letters beside ASCII and more than {_MOST_POINTS} points")
    try:
        return plain_address(value)
    except ValueError as error:
        raise Refused("traits.email", str(error)) from None


def _zone(value: Any) -> str:
    if not isinstance(value, str) or zone_named(value) is None:
        raise Refused("traits.timezone", "must be an IANA name, such as Europe/Berlin")
    return value


def _locale(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_LOCALE or not value.isprintable():
        raise Refused("traits.locale", "must be a language tag, such as de-AT")
    return value
