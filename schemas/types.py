"""The field types that several models share, each with its bound: what arrives is hostile until it fits one."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.addresses import plain_address

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999 in UTC") from None


def has_control(text: str) -> bool:
    """Whether the text has a control character, such as a line feed."""
    return _CONTROL.search(text) is not None


def _no_control(text: str) -> str:
    if has_control(text):
        raise ValueError("control characters are not allowed")
    return text


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A moment, always with an offset on the wire and always UTC in memory."""

Line = Annotated[str, AfterValidator(_no_control)]
"""Text that fits one header line."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_no_control)]
"""An identifier given by a publisher: opaque, one line, at most 256 characters."""

LONGEST_NAME = 128
NAME = rf"[A-Za-z][A-Za-z0-9_.:/-]{{0,{LONGEST_NAME - 1}}}"
Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
"""A name that people write: triggers, templates, purposes, event types."""

Address = Annotated[str, AfterValidator(plain_address)]
"""One plain mailbox that SMTP can carry, its domain in ASCII (A-labels): see `schemas.addresses`."""

Properties = dict[str, Any]
"""Free JSON of a publisher."""


class Fact(BaseModel):
    """The base of every model on a topic: immutable, and tolerant of fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")


class PublishedFact(Fact):
    """The base of facts that publishers write: a field that may be absent may as well be null."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict) or None not in data.values():
            return data
        fields = cls.model_fields
        return {k: v for k, v in data.items() if v is not None or (k in fields and fields[k].is_required())}


Count = Annotated[int, Field(ge=0)]
