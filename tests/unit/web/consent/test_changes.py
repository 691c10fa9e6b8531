"""Which records make entries: an answer that changes what is known, once."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.codec import DecodeError
from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DeadLetterCause, Evidence, OutcomeKind
from web.consent.changes import PersonConsent, after_outcome, after_profile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def yes(second: int, version: str = "1") -> Consent:
    return Consent(granted=True, time=at(second), method="form", text_version=version)


def no(second: int) -> Consent:
    return Consent(granted=False, time=at(second), method="page")


class Ann:
    """One user, of whom records are read one after another, each at its second."""

    def __init__(self) -> None:
        self.known = PersonConsent()

    def profile(self, second: int, **consent: Consent) -> list[str]:
        return self.record(second, Profile(user_id="ann", consent=consent))

    def record(self, second: int, record: ProfileRecord) -> list[str]:
        self.known, changes = after_profile(self.known, "ann", record, second * 1_000_000)
        return self._words(changes)

    def outcome(
        self, second: int, kind: OutcomeKind, purpose: str | None = None, evidence: Evidence | None = None
    ) -> list[str]:
        outcome = Outcome(id=str(second), command_id="c", user_id="ann", kind=kind, time=at(second), evidence=evidence)
        self.known, changes = after_outcome(self.known, outcome, purpose, 1_000_000_000)
        return self._words(changes)

    def _words(self, changes):
        self.known = PersonConsent.decoded(self.known.encoded())
        return [f"{each.answer} {each.purpose} {each.time_us // 1_000_000} {each.method}" for each in changes]


UNSUBSCRIBED, COMPLAINED, REINSTATED = OutcomeKind.UNSUBSCRIBED, OutcomeKind.COMPLAINED, OutcomeKind.REINSTATED


@pytest.fixture
def ann() -> Ann:
    return Ann()


def test_a_consent_is_an_entry_once_however_often_profiles_repeat_it(ann):
    assert ann.profile(5, marketing=yes(3)) == ["granted marketing 3 form"]
    assert ann.profile(6, marketing=yes(3)) == []
    assert ann.profile(7, marketing=yes(3), news=yes(7)) == ["granted news 7 form"]


def test_a_stale_answer_changes_nothing(ann):
    ann.profile(5, marketing=no(4))
    assert ann.profile(6, marketing=yes(3)) == []
    assert ann.profile(7, marketing=no(2)) == []


def test_an_answer_with_another_text_or_time_is_an_entry_of_its_own(ann):
    ann.profile(5, marketing=yes(3))
    assert ann.profile(6, marketing=yes(3, "2")) == ["granted marketing 3 form"]
    assert ann.profile(9, marketing=yes(8, "2")) == ["granted marketing 8 form"]
    assert ann.profile(10, marketing=no(10)) == ["withdrawn marketing 10 page"]


def test_a_profile_that_no_longer_names_a_purpose_withdraws_it_and_may_give_it_back(ann):
    ann.profile(5, marketing=yes(3), news=no(3))
    assert ann.profile(6) == ["withdrawn marketing 6 not_in_profile"]
    assert ann.profile(7) == []
    assert ann.profile(8, marketing=yes(3)) == ["granted marketing 3 form"]


def test_an_unreadable_profile_withdraws_what_was_given_and_says_what_it_refuses(ann):
    ann.profile(5, marketing=yes(3), news=yes(3))
    error = DecodeError(DeadLetterCause.INVALID, "sample")
    unreadable = UnreadableProfile(error, ("ann",), "ann", refused={"news": at(6)})
    assert ann.record(7, unreadable) == ["withdrawn marketing 7 unreadable_profile", "withdrawn news 6 profiles"]
    assert ann.profile(8, marketing=yes(3)) == ["granted marketing 3 form"]


def test_removing_a_user_withdraws_what_was_given(ann):
    ann.profile(5, marketing=yes(3), news=no(3))
    assert ann.record(6, ProfileRemoval("ann")) == ["withdrawn marketing 6 profile_removed"]
    assert ann.record(7, ProfileRemoval("ann")) == []
    assert ann.profile(8, marketing=yes(3)) == ["granted marketing 3 form"]


def test_an_unsubscribe_is_an_entry_with_its_evidence_until_consent_is_given_again(ann):
    ann.profile(5, marketing=yes(3))
    assert ann.outcome(6, UNSUBSCRIBED, "marketing", Evidence.ONE_CLICK) == ["withdrawn marketing 6 one_click"]
    assert ann.outcome(6, UNSUBSCRIBED, "marketing", Evidence.ONE_CLICK) == []
    assert ann.outcome(7, UNSUBSCRIBED, "marketing", Evidence.PAGE_POST) == []
    ann.profile(9, marketing=yes(8))
    assert ann.outcome(10, UNSUBSCRIBED, "marketing") == ["withdrawn marketing 10 unsubscribed"]


def test_what_profiles_say_does_not_depend_on_how_far_outcomes_are_read(ann):
    assert ann.outcome(6, UNSUBSCRIBED, "marketing") == ["withdrawn marketing 6 unsubscribed"]
    assert ann.profile(5, marketing=yes(3)) == ["granted marketing 3 form"]
    assert ann.profile(8, marketing=no(7)) == ["withdrawn marketing 7 page"]


def test_an_unsubscribe_is_an_entry_although_the_refusal_that_followed_it_was_read_before(ann):
    ann.profile(5, marketing=yes(3))
    ann.profile(8, marketing=no(7))
    assert ann.outcome(6, UNSUBSCRIBED, "marketing") == ["withdrawn marketing 6 unsubscribed"]


def test_an_unsubscribe_whose_purpose_nobody_knows_is_from_every_purpose(ann):
    assert ann.outcome(6, UNSUBSCRIBED, None) == ["withdrawn * 6 unsubscribed"]


def test_a_complaint_withholds_every_purpose_until_a_person_lifts_it(ann):
    assert ann.outcome(5, REINSTATED) == []
    assert ann.outcome(6, COMPLAINED, "marketing") == ["withdrawn * 6 complained"]
    assert ann.outcome(7, COMPLAINED) == []
    assert ann.outcome(8, REINSTATED) == ["lifted * 8 reinstated"]
    assert ann.outcome(9, REINSTATED) == []
    assert ann.outcome(10, COMPLAINED) == ["withdrawn * 10 complained"]


def test_no_answer_is_later_than_the_record_that_says_it(ann):
    assert ann.profile(5, marketing=yes(500)) == ["granted marketing 5 form"]
