"""Machines are told from people by evidence; what remains unclear is said to be."""

from typing import Any

import pytest

from schemas.vocabulary import Evidence, OutcomeKind
from senders.content.links import link_id
from web.recipients.evidence import Hit, RecentHits, Signals, evidence_of, is_machine, signals_of

BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "accept-language": "de",
    "sec-fetch-mode": "navigate",
    "sec-fetch-user": "?1",
}
SECOND = 1_000_000
ACCEPTED = 1_700_000_000 * SECOND
LATE = ACCEPTED + 3600 * SECOND
URL = "https://shop.example/cart"


def a_click(at_us: int = LATE, signals: Signals | None = None, url: str | None = URL, **more: Any) -> Hit:
    said = signals_of("GET", BROWSER) if signals is None else signals
    return Hit(OutcomeKind.CLICKED, "ab" * 16, at_us, said, link_id(url or ""), url, **more)


def an_open(at_us: int = LATE, signals: Signals | None = None) -> Hit:
    return Hit(OutcomeKind.OPENED, "ab" * 16, at_us, signals or Signals())


@pytest.mark.parametrize(
    ("method", "headers", "signals"),
    [
        ("GET", BROWSER, Signals(navigation=True)),
        ("HEAD", BROWSER, Signals(head=True, navigation=True)),
        ("GET", {}, Signals(bot=True)),
        ("GET", {"user-agent": "python-requests/2.32"}, Signals(bot=True)),
        ("GET", {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, Signals(bot=True)),
        ("GET", BROWSER | {"user-agent": "Mozilla/5.0 HeadlessChrome/140.0"}, Signals(bot=True, navigation=True)),
        ("GET", {"user-agent": "Mozilla/5.0"}, Signals(proxy=True)),
        ("GET", {"user-agent": "Mozilla/5.0 Firefox/11.0 (via ggpht.com GoogleImageProxy)"}, Signals(proxy=True)),
        ("GET", {"user-agent": "YahooMailProxy; https://help.yahoo.com/"}, Signals(proxy=True)),
        ("GET", BROWSER | {"sec-purpose": "prefetch;prerender"}, Signals(prefetch=True, navigation=True)),
        ("GET", {"user-agent": BROWSER["user-agent"]}, Signals()),
        (
            "GET",
            {"user-agent": "Mozilla/5.0 (Linux; Android 9; CUBOT X20 PRO) Chrome/120.0 Mobile Safari/537.36"},
            Signals(),
        ),
        ("GET", {"user-agent": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko)"}, Signals()),
    ],
)
def test_of_a_request_only_its_signals_are_kept(method: str, headers: dict[str, str], signals: Signals) -> None:
    assert signals_of(method, headers) == signals


@pytest.mark.parametrize(
    ("hit", "evidence", "machine"),
    [
        (a_click(), Evidence.NAVIGATION, False),
        (a_click(ACCEPTED + 30 * SECOND), Evidence.NONE, "unknown"),
        (a_click(ACCEPTED + 30 * SECOND, Signals()), Evidence.EARLY_CLICK, True),
        (a_click(ACCEPTED + 30 * SECOND, Signals(), opened_before=True), Evidence.NONE, "unknown"),
        (a_click(signals=Signals()), Evidence.NONE, "unknown"),
        (a_click(signals=Signals(head=True, navigation=True)), Evidence.HEAD, True),
        (a_click(signals=Signals(bot=True, navigation=True)), Evidence.BOT_AGENT, True),
        (a_click(url=None), Evidence.HIDDEN_LINK, True),
        (a_click(in_burst=True), Evidence.BURST, True),
        (an_open(), Evidence.NONE, "unknown"),
        (an_open(signals=Signals(proxy=True)), Evidence.PROXY, "unknown"),
        (an_open(ACCEPTED + SECOND, Signals(proxy=True)), Evidence.PREFETCH, True),
        (an_open(signals=Signals(prefetch=True)), Evidence.PREFETCH, True),
        (an_open(signals=Signals(head=True)), Evidence.HEAD, True),
    ],
)
def test_evidence_says_who_it_was(hit: Hit, evidence: Evidence, machine: object) -> None:
    assert evidence_of(hit, ACCEPTED) is evidence
    assert is_machine(evidence) == machine


def test_nobody_counts_as_a_person_while_the_acceptance_of_the_mail_is_unknown() -> None:
    assert evidence_of(a_click(), None) is Evidence.NONE


def test_several_links_within_two_seconds_are_a_burst_from_the_first_to_the_last() -> None:
    recent = RecentHits()
    hits = [a_click(LATE + number * 20_000, url=f"{URL}/{number}") for number in range(100)]
    for hit in hits:
        recent.add(hit)
    assert all(hit.in_burst for hit in hits)


def test_one_link_clicked_again_is_no_burst_and_neither_are_links_read_one_after_the_other() -> None:
    recent = RecentHits()
    hits = [a_click(LATE), a_click(LATE + SECOND), a_click(LATE + 4 * SECOND, url=f"{URL}/b")]
    for hit in hits:
        recent.add(hit)
    assert not any(hit.in_burst for hit in hits)


def test_links_of_different_mails_are_no_burst() -> None:
    recent = RecentHits()
    first, second = a_click(LATE), a_click(LATE, url=f"{URL}/b")
    second.command_id = "cd" * 16
    recent.add(first)
    recent.add(second)
    assert not any((first.in_burst, second.in_burst))


def test_a_click_knows_that_its_mail_was_opened_before() -> None:
    recent = RecentHits()
    before, after = a_click(LATE), a_click(LATE + 3 * SECOND)
    for hit in (before, an_open(LATE + SECOND), after):
        recent.add(hit)
    assert (before.opened_before, after.opened_before) == (False, True)


def test_the_memory_of_hits_is_bounded() -> None:
    recent = RecentHits(most=10)
    for number in range(100):
        hit = a_click(LATE)
        hit.command_id = f"{number:032x}"
        recent.add(hit)
    assert len(recent) == 10


def test_each_evidence_says_machine_person_or_unknown() -> None:
    assert {is_machine(evidence) for evidence in Evidence} == {True, False, "unknown"}
