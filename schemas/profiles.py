"""Profiles: what is known of a user, compacted to the last word."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.types import Address, Id, Instant, Name, Properties, PublishedFact


class Consent(PublishedFact):
    """One purpose's consent, with the proof of how it was given or taken back."""

    granted: bool
    time: Instant
    method: Annotated[str, Field(max_length=128)] = ""
    text_version: Annotated[str, Field(max_length=128)] = ""


def _without_nulls(consent: Any) -> Any:
    """A purpose whose answer is null has none."""
    return {k: v for k, v in consent.items() if v is not None} if isinstance(consent, dict) else consent


def _no_wins(consent: dict[str, Consent]) -> dict[str, Consent]:
    """Where two purposes differ only in upper and lower case, a no to one is a no to both: one of them is misspelled,
    and it is unknown which."""
    refused = {name.casefold() for name, answer in consent.items() if not answer.granted}
    return {
        name: answer.model_copy(update={"granted": False}) if name.casefold() in refused else answer
        for name, answer in consent.items()
    }


ConsentByPurpose = Annotated[dict[Name, Consent], BeforeValidator(_without_nulls), AfterValidator(_no_wins)]
"""Consent by purpose."""


class Profile(PublishedFact):
    """A user's address, place and consent. Keyed by `user_id`."""

    user_id: Id
    address: Address | None = None
    zone: Annotated[str, Field(max_length=64)] | None = None
    locale: Annotated[str, Field(max_length=35)] | None = None
    attributes: Properties = Field(default_factory=dict)
    consent: ConsentByPurpose = Field(default_factory=dict)
    paused_until: Instant | None = None
    """Until then the user wants no mail that needs consent. Consent stays as it is."""
