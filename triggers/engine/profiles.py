"""What a profile changes in a user's state: attributes, consent and address."""

import hashlib
from collections.abc import Mapping

from schemas.profiles import Profile
from triggers.cel.runtime import as_ms
from triggers.rules.state import StoredConsent, User, UserState


def replace_profile(state: UserState, profile: Profile, now_ms: int) -> None:
    """Replaces what is known of the user, but for a pause that the profile does not name: backends that publish whole
    profiles do not know of it. A new address is not suppressed."""
    state.user = User(state.user_id, profile.zone, profile.locale, profile.attributes)
    state.profiled = True
    _replace_consent(state, profile)
    if profile.paused_until is not None:
        state.paused_until = as_ms(profile.paused_until)
    digest = _digest(profile.address)
    if digest != state.address_digest:
        state.suppressed = False
        if state.address_digest:
            state.address_since = now_ms
        state.address_digest = digest


def _replace_consent(state: UserState, profile: Profile) -> None:
    """Takes consent from the profile, except for purposes from which the user unsubscribed after giving it."""
    known = state.consent
    state.consent = {name: StoredConsent(each.granted, as_ms(each.time)) for name, each in profile.consent.items()}
    for purpose, before in known.items():
        now = state.consent.get(purpose)
        if not before.granted and now is not None and now.granted and before.at > now.at:
            state.consent[purpose] = before


def withdraw_consent(state: UserState, refused: Mapping[str, int]) -> None:
    """Removes all granted consent and adds the refusals, by purpose with their instant in milliseconds."""
    state.consent = {purpose: answer for purpose, answer in state.consent.items() if not answer.granted}
    for purpose, at in refused.items():
        before = state.consent.get(purpose)
        state.consent[purpose] = StoredConsent(False, at if before is None else max(at, before.at))


def _digest(address: str | None) -> str:
    """Tells whether an address changed. The address itself is not kept."""
    return hashlib.blake2b(address.lower().encode(), digest_size=8).hexdigest() if address else ""
