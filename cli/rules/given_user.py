"""The user that a command is told of: in the form of a case's `user`, or a profile as it is published."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from cli.rules.rule_files import RULE_SUFFIXES
from cli.text_files import UnreadableFile, json_of, read_json, read_text
from schemas.codec import DecodeError, validate
from schemas.errors import UserError
from schemas.profiles import Profile
from schemas.types import Name, PublishedFact
from triggers.language import keys
from triggers.language.diagnostics import InvalidRules, Report, SourceFile
from triggers.language.yaml_tree import documents, plain_value
from triggers.measures.decay import MAX_SCORE
from triggers.measures.windows import EXACT, MAX_AMOUNT

M = TypeVar("M", bound=PublishedFact)
_ID = "u1"
_OWN_KEYS = frozenset(keys.names("USER"))
_OF_A_PROFILE = ("user_id", "attributes")
"""The keys that tell a published profile from the form of a case."""

Amount = Annotated[float, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=EXACT)]


class BadInput(UserError):
    """What a command is told cannot be read; the message names the file and says why."""


class GivenMeasures(PublishedFact, extra="forbid", strict=True):
    """What a metric has measured."""

    count: Whole | None = None
    sum: Amount | None = None
    distinct: Whole | None = None


class _OwnKeys(PublishedFact, strict=True):
    """The keys of a case's `user` that are no attributes."""

    zone: Annotated[str, Field(max_length=64)] | None = None
    locale: Annotated[str, Field(max_length=35)] | None = None
    consent: list[Name] | None = None
    score: dict[str, Annotated[float, Field(ge=0, le=MAX_SCORE, allow_inf_nan=False)]] = Field(default_factory=dict)
    metric: dict[str, Amount | GivenMeasures] = Field(default_factory=dict)
    variant: str | None = None
    held_out: bool | None = None


@dataclass(frozen=True, slots=True)
class GivenUser:
    """A user as a case writes one."""

    id: str = _ID
    attributes: dict[str, Any] = field(default_factory=dict)
    own: _OwnKeys = field(default_factory=_OwnKeys)
    profile: dict[str, Any] = field(default_factory=dict)
    """The published profile as written; empty where the user has the form of a case."""

    def as_case(self) -> dict[str, object]:
        """The value of the key `user` of a case."""
        return {**self.attributes, **self.own.model_dump(exclude_none=True, exclude_defaults=True)}


def read_user(given: str) -> GivenUser:
    """The user in a file of JSON or YAML, `-` for standard input, or JSON itself. Raises BadInput or InvalidRules."""
    place, found = shown_place(given, "--user"), read_mapping(given, "--user")
    if any(key in found for key in _OF_A_PROFILE):
        return _of_profile(place, found)
    own = validated(_OwnKeys, {key: found[key] for key in found.keys() & _OWN_KEYS}, f"{place}: not a user")
    return GivenUser(attributes={key: value for key, value in found.items() if key not in _OWN_KEYS}, own=own)


def _of_profile(place: str, found: dict[str, Any]) -> GivenUser:
    profile = validated(Profile, {"user_id": _ID} | found, f"{place}: not a profile")
    granted = [purpose for purpose, answer in profile.consent.items() if answer.granted] if "consent" in found else None
    own = _OwnKeys(zone=profile.zone, locale=profile.locale, consent=granted)
    return GivenUser(profile.user_id, profile.attributes, own, found)


def validated(model: type[M], data: Any, wrong: str) -> M:
    """The value as a model; raises BadInput, whose message begins with `wrong`."""
    try:
        return validate(model, data)
    except DecodeError as error:
        raise BadInput(f"{wrong}: {error.detail}") from None


def _is_json(given: str) -> bool:
    """Whether an option has a JSON object itself, and not the name of a file."""
    return given.lstrip().startswith("{")


def shown_place(given: str, option: str) -> str:
    """What messages call what an option gives: the file, or the option if it has the JSON itself."""
    return option if _is_json(given) else given


def read_mapping(given: str, option: str) -> dict[str, Any]:
    """The mapping that an option gives: itself, or in a file, as YAML where its name ends so, else JSON.

    Raises BadInput or InvalidRules.
    """
    place = shown_place(given, option)
    try:
        if _is_json(given):
            found = json_of(given.encode("utf-8", "surrogateescape"), place)
        else:
            found = _read_yaml(place) if Path(place).suffix in RULE_SUFFIXES else read_json(place)
    except UnreadableFile as error:
        raise BadInput(str(error)) from None
    if not isinstance(found, dict):
        raise BadInput(f'{place}: not a mapping of names to values, as in {{"plan": "team"}}')
    return found


def _read_yaml(place: str) -> object:
    report = Report(SourceFile(place, read_text(place)))
    nodes = documents(report)
    found = report.attempt(lambda: [plain_value(node) for node in nodes], [])
    if report.diagnostics:
        raise InvalidRules(report.diagnostics)
    return found[0] if len(found) == 1 else None
