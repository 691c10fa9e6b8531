"""What a recipient can choose, and the patch of the profile that each choice becomes. Pure.

A purpose is offered if the user ever answered to it, or if the mail whose link was followed has it. Nobody is offered
what was never asked of them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from schemas.profiles import Consent, Profile
from schemas.vocabulary import TRANSACTIONAL
from web.profiles.patches import ProfilePatch
from web.recipients.pages.texts import Texts, brand_in_words

PAUSE = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_BREAK = "\u2060"
"""No line ends here."""
_MICROSECOND = timedelta(microseconds=1)


class ConsentMethod(StrEnum):
    """How a consent was given or taken back, as it is kept with it."""

    PREFERENCE_PAGE = "preference_page"
    ONE_CLICK = "one_click"
    CONFIRMED_MAIL = "confirmed_mail"


class PurposeChoice(NamedTuple):
    """A purpose, what the recipient reads for it, and whether it is on."""

    name: str
    label: str
    on: bool


class BrandChoices(NamedTuple):
    """The purposes of one brand; of none if it is empty."""

    brand: str
    purposes: Sequence[PurposeChoice]


def offered(profile: Profile | None, purpose: str | None) -> frozenset[str]:
    """The purposes that a user can turn on and off."""
    answered = profile.consent.keys() if profile else ()
    return frozenset([*answered, *([purpose] if purpose else [])]) - {TRANSACTIONAL}


def is_on(profile: Profile | None, purpose: str) -> bool:
    """Whether the user's last answer was yes."""
    answer = profile.consent.get(purpose) if profile else None
    return answer is not None and answer.granted


def choices(profile: Profile | None, purpose: str | None, texts: Texts) -> list[BrandChoices]:
    """The purposes by brand, in the order in which they are read."""
    brands: dict[str, list[PurposeChoice]] = {}
    for name in offered(profile, purpose):
        found = brands.setdefault(name.rpartition("/")[0], [])
        found.append(PurposeChoice(name, texts.purpose(name), is_on(profile, name)))
    return [
        BrandChoices(brand_in_words(brand), sorted(found, key=lambda each: (each.label.casefold(), each.name)))
        for brand, found in sorted(brands.items())
    ]


def answers(
    user_id: str, granted: Mapping[str, bool], at: datetime, method: ConsentMethod, text_version: str = ""
) -> ProfilePatch:
    """Consent to some purposes and not to others, with its proof. The version is empty if no text was shown."""
    consent = {
        purpose: Consent(granted=yes, time=at, method=method, text_version=text_version)
        for purpose, yes in granted.items()
    }
    return ProfilePatch(user_id, microseconds(at), method, consent=consent)


def values(user_id: str, at: datetime, source: ConsentMethod, said: Mapping[str, Any]) -> ProfilePatch:
    """Single fields of a profile."""
    return ProfilePatch(user_id, microseconds(at), source, values=dict(said))


def paused_until(profile: Profile | None, now: datetime) -> datetime | None:
    """Until when the user wants no mail; None if that time is over, or was never asked for."""
    until = profile.paused_until if profile else None
    return until if until is not None and now < until else None


def turned(shown_on: Collection[str], ticked: Collection[str], may: Collection[str]) -> tuple[list[str], list[str]]:
    """The purposes that a form turns off, and on: those whose box the recipient changed, of those that they may."""
    return _ordered(set(shown_on) - set(ticked), may), _ordered(set(ticked) - set(shown_on), may)


def _ordered(purposes: Iterable[str], may: Collection[str]) -> list[str]:
    return sorted(each for each in purposes if each in may)


def masked(address: str) -> str:
    """The address as far as its owner needs it to recognize it: a forwarded mail must not tell it."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…{_NO_BREAK}@{domain}"


def microseconds(at: datetime) -> int:
    """A time as patches have it."""
    return (at - _EPOCH) // _MICROSECOND
