"""Which entries a record of `profiles` or `outcomes` makes: those answers by which it changes what is known. Pure.

Profiles are merged as the store of profiles does it (`web.profiles.profile_state`), so a stale or repeated answer is no
change. What profiles say and what outcomes say is kept apart: the two topics are read at different paces, and what one
of them makes must not depend on how far the other is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import orjson

from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile
from schemas.profiles import Profile
from schemas.vocabulary import OutcomeKind
from web.consent.entries import EVERY_PURPOSE, ConsentAnswer, ConsentChange
from web.profiles import profile_state
from web.profiles.profile_state import NOTHING, ConsentStamp, ProfileState, merge, microseconds, of_unreadable, of_whole

FROM_PROFILES, FROM_OUTCOMES = "profiles", "outcomes"
KINDS = frozenset({OutcomeKind.UNSUBSCRIBED, OutcomeKind.COMPLAINED, OutcomeKind.REINSTATED})
"""The outcomes that may change consent."""


@dataclass(frozen=True, slots=True)
class PersonConsent:
    """What the ledger has of a person."""

    said: ProfileState = NOTHING
    """The consent that profiles say."""
    outcomes: Mapping[str, ConsentStamp] = field(default_factory=dict)
    """The last answer of outcomes by purpose; `*` for every purpose."""

    def encoded(self) -> str:
        """As JSON."""
        outcomes = {purpose: list(stamp) for purpose, stamp in self.outcomes.items()}
        return orjson.dumps({"said": profile_state.encode(self.said), "outcomes": outcomes}).decode()

    @classmethod
    def decoded(cls, text: str) -> "PersonConsent":
        """What `encoded` wrote."""
        data = orjson.loads(text)
        outcomes = {purpose: ConsentStamp(*stamp) for purpose, stamp in data["outcomes"].items()}
        return cls(profile_state.decode(data["said"]), outcomes)


def after_profile(
    known: PersonConsent, user_id: str, record: ProfileRecord, at_us: int
) -> tuple[PersonConsent, list[ConsentChange]]:
    """What is known of a user after a record that was appended at this time, and the changes."""
    match record:
        case Profile():
            said, lapse = merge(known.said, _consent_alone(of_whole(record, at_us, FROM_PROFILES))), "not_in_profile"
        case UnreadableProfile():
            unreadable = _consent_alone(of_unreadable(record, user_id, at_us, FROM_PROFILES))
            said, lapse = merge(known.said, unreadable), "unreadable_profile"
        case ProfileRemoval():
            said, lapse = NOTHING, "profile_removed"
    return replace(known, said=said), list(_differences(user_id, known.said, said, at_us, lapse))


def _consent_alone(state: ProfileState) -> ProfileState:
    return ProfileState(consent=state.consent, consent_floor_us=state.consent_floor_us)


def _differences(
    user_id: str, before: ProfileState, after: ProfileState, at_us: int, lapse: str
) -> Iterator[ConsentChange]:
    for purpose in sorted(before.consent.keys() | after.consent.keys()):
        was, now = before.consent.get(purpose), after.consent.get(purpose)
        granted = was is not None and before.grants(was)
        grants = now is not None and after.grants(now)
        if now is not None and (now.refused or grants):
            if was is None or was[:4] != now[:4] or granted != grants:
                yield _change(user_id, purpose, now)
        elif granted:
            yield _change(user_id, purpose, ConsentStamp(at_us, True, lapse, "", at_us, FROM_PROFILES))


def after_outcome(
    known: PersonConsent, outcome: Outcome, purpose: str | None, at_us: int
) -> tuple[PersonConsent, list[ConsentChange]]:
    """The same after an outcome of one of `KINDS`. Its purpose counts if it unsubscribes; None: from every one."""
    refused = outcome.kind is not OutcomeKind.REINSTATED
    purpose = purpose or EVERY_PURPOSE if outcome.kind is OutcomeKind.UNSUBSCRIBED else EVERY_PURPOSE
    time_us = min(microseconds(outcome.time), at_us)
    stamp = ConsentStamp(time_us, refused, _method(outcome), "", at_us, FROM_OUTCOMES)
    if not _changes(known, purpose, stamp):
        return known, []
    return replace(known, outcomes={**known.outcomes, purpose: stamp}), [_change(outcome.user_id, purpose, stamp)]


def _method(outcome: Outcome) -> str:
    if outcome.kind is OutcomeKind.UNSUBSCRIBED and outcome.evidence is not None:
        return outcome.evidence.value
    return outcome.kind.value


def _changes(known: PersonConsent, purpose: str, stamp: ConsentStamp) -> bool:
    """Whether an answer of an outcome is new, and its opposite was in force before it."""
    last = known.outcomes.get(purpose)
    if last is not None and stamp.time_us <= last.time_us:
        return False
    before = [each for each in (last, known.said.consent.get(purpose)) if each and each.time_us <= stamp.time_us]
    is_refused = bool(before) and max(before).refused
    return is_refused != stamp.refused


def _change(user_id: str, purpose: str, stamp: ConsentStamp) -> ConsentChange:
    answer = ConsentAnswer.WITHDRAWN if stamp.refused else ConsentAnswer.GRANTED
    if purpose == EVERY_PURPOSE and not stamp.refused:
        answer = ConsentAnswer.LIFTED
    return ConsentChange(user_id, purpose, answer, stamp.time_us, stamp.method, stamp.text_version, stamp.source)
