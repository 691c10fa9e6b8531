"""Switches that give a key of the shaping file another value for a while: what they may set, and where. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from schemas.codec import DecodeError
from schemas.mistakes import mistakes
from schemas.rules import DELIVERY, Control
from schemas.vocabulary import DeadLetterCause
from schemas.wording import nearest
from senders.shaping.keys import KEYS, LaneKeys, ProviderKeys

_OF_MAIL = ("max_message_rate",)
SETTABLE: Mapping[str, tuple[str, ...]] = {
    "provider": KEYS,
    "site": tuple(LaneKeys.model_fields),
    "source": tuple(LaneKeys.model_fields),
    "trigger": _OF_MAIL,
    "purpose": _OF_MAIL,
}
"""The keys that can be set, by what the scope names."""


def set_values(control: Control) -> dict[str, Any]:
    """The values as lanes use them; raises DecodeError if the scope does not have the key, or the value is none."""
    kind = control.scope.removeprefix(f"{DELIVERY}/").partition("/")[0]
    try:
        return {key: checked_value(kind, key, value) for key, value in control.values.items()}
    except ValueError as problem:
        raise DecodeError(DeadLetterCause.INVALID, str(problem)) from None


def checked_value(kind: str, key: str, value: bool | int | str) -> Any:
    """The value of a key for a scope of this kind; raises ValueError that says what to write."""
    if key not in KEYS:
        raise ValueError(f"unknown key `{key}`; {nearest(key, KEYS)}")
    allowed = SETTABLE.get(kind, ())
    if key not in allowed:
        takes = f"takes only `{allowed[0]}`" if len(allowed) == 1 else "has no such key; set it for a provider"
        raise ValueError(f"`{key}` cannot be set there: a {kind} {takes}")
    try:
        return getattr(ProviderKeys.model_validate({key: value}), key)
    except ValidationError as error:
        raise ValueError(f"`{key}`: {next(iter(mistakes(error).values()))}") from None
