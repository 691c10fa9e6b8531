"""What a recipient may choose, and the patch that it becomes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.profiles import Consent, Profile
from web.recipients.pages import choices
from web.recipients.pages.choices import ConsentMethod
from web.recipients.pages.texts import languages

NOW = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
NAMES = st.sampled_from(["marketing", "news", "harbour/marketing", "harbour/news", "quay/news", "transactional"])


def profile(**granted: bool) -> Profile:
    consent = {name.replace("__", "/"): Consent(granted=yes, time=NOW) for name, yes in granted.items()}
    return Profile(user_id="u1", address="ann@example.net", consent=consent)


def test_purposes_are_shown_by_brand_in_the_order_of_their_labels() -> None:
    known = profile(news=True, marketing=False, cd_harbour__digest=True, transactional=True)
    shown = choices.choices(known, "cd_harbour/offers", languages()["en"])
    assert [(each.brand, [(p.name, p.label, p.on) for p in each.purposes]) for each in shown] == [
        ("", [("news", "News", True), ("marketing", "Offers and news", False)]),
        ("Cd Harbour", [("cd_harbour/offers", "Offers", False), ("cd_harbour/digest", "Summaries", True)]),
    ]


def test_a_purpose_that_stands_alone_is_read_with_its_brand() -> None:
    texts = languages()["en"]
    assert texts.purpose_of_brand("marketing") == "Offers and news"
    assert texts.purpose_of_brand("cd_harbour/marketing") == "Offers and news (Cd Harbour)"


def test_without_a_profile_the_purpose_of_the_mail_is_offered() -> None:
    assert choices.offered(None, "news") == {"news"}
    assert choices.offered(None, "transactional") == choices.offered(None, None) == frozenset()


@given(st.sets(NAMES), st.sets(NAMES), st.sets(NAMES))
def test_a_form_changes_only_what_its_reader_changed_and_may(was: set[str], now: set[str], may: set[str]) -> None:
    off, on = choices.turned(was, now, may)
    assert set(off) | set(on) <= may
    assert not set(off) & set(on)
    assert set(off) <= was - now
    assert set(on) <= now - was


def test_a_consent_has_its_time_its_method_and_the_version_of_the_text() -> None:
    patch = choices.answers("u1", {"news": False}, NOW, ConsentMethod.PREFERENCE_PAGE, "de-0011")
    assert patch.consent == {"news": Consent(granted=False, time=NOW, method="preference_page", text_version="de-0011")}
    assert datetime.fromtimestamp(patch.time_us / 1_000_000, UTC) == NOW


def test_a_pause_is_over_at_its_end() -> None:
    paused = Profile(user_id="u1", paused_until=NOW)
    assert choices.paused_until(paused, NOW - timedelta(seconds=1)) == NOW
    assert choices.paused_until(paused, NOW) is None
    assert choices.paused_until(None, NOW) is None


def test_an_address_is_masked_but_for_its_first_letter_and_its_domain() -> None:
    assert choices.masked("someone@example.net") == "s…\u2060@example.net"
    assert choices.masked("a@example.net") == "a…\u2060@example.net"
