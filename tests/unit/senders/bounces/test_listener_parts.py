"""The small parts of the bounce listener: its rate, its health, its metrics, and what a mail means for a command."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.service.health import Phase
from infra.service.metrics import reference
from infra.service.outages import Outage
from schemas.vocabulary import OutcomeKind
from senders.bounces.bounce_outcomes import AHEAD, OLDEST, SentCommand, outcome_of, written_at
from senders.bounces.listener import RateLimit
from senders.bounces.mime import Headers
from senders.bounces.monitoring import DEFINITIONS, BounceMetrics, ListenerHealth
from senders.bounces.returned_mail import Finding, MailKind

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
COMMAND = SentCommand("c", "u", "welcome", "marketing")


def bounce(*, hard: bool, text: str = "550 5.1.1 <ann@example.net> user unknown") -> Finding:
    name = "invalid_recipient" if hard else "quota_issues"
    return Finding(MailKind.BOUNCE, "ann@example.net", "5.1.1", name, hard, "rule", text)


def test_the_documented_metrics_of_the_listener_are_those_that_exist() -> None:
    assert reference(DEFINITIONS) in DOCUMENT.read_text(), f"stale; the table is:\n{reference(DEFINITIONS)}"


def test_a_rate_allows_a_burst_and_then_its_rate() -> None:
    now = [0.0]
    limit = RateLimit(2.0, lambda: now[0])
    assert sum(limit.take() for _ in range(100)) == 20
    now[0] = 5.0
    assert sum(limit.take() for _ in range(100)) == 10


def test_what_fails_behind_an_alias_condemns_our_address_only_if_all_of_it_does() -> None:
    both = outcome_of([bounce(hard=True), bounce(hard=True)], COMMAND, NOW, "h")
    one = outcome_of([bounce(hard=True), bounce(hard=False)], COMMAND, NOW, "h")
    assert both is not None
    assert one is not None
    assert (both.kind, both.hard, one.hard) == (OutcomeKind.BOUNCED, True, False)
    assert both.reply is not None
    assert (both.reply.code, both.reply.enhanced) == (550, "5.1.1")
    assert "ann" not in both.reply.text


def test_the_same_bounce_has_one_id_and_another_class_has_another() -> None:
    found = [outcome_of([bounce(hard=hard)], COMMAND, NOW, "h") for hard in (True, True, False, False)]
    ids = {outcome.id for outcome in found if outcome is not None}
    assert len(ids) == 2


AN_HOUR_AGO = NOW - timedelta(hours=1)
SUNDAY = "Sun, 29 Nov 2026 00:00:00 +0100"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("date", SUNDAY)], AN_HOUR_AGO),
        ([("date", "Sat, 28 Nov 2026 23:00:00 -0000")], AN_HOUR_AGO),
        ([("date", "Sun, 29 Nov 2026 00:04:00 GMT")], NOW + timedelta(minutes=4)),
        ([("received", f"from a by b; {SUNDAY}")], AN_HOUR_AGO),
        ([("received", "from b by c; Sun, 29 Nov 2026 00:00:00 GMT"), ("received", f"by b; {SUNDAY}")], AN_HOUR_AGO),
        ([("date", "Sun, 29 Nov 2026 02:00:00 GMT"), ("received", f"by b; {SUNDAY}")], AN_HOUR_AGO),
        ([("date", "Mon, 2 Nov 2026 00:00:00 GMT"), ("received", f"by b; {SUNDAY}")], AN_HOUR_AGO),
        ([("date", "Mon, 2 Nov 2026 00:00:00 GMT")], NOW),
        ([("date", "yesterday")], NOW),
        ([("received", "")], NOW),
        ([], NOW),
    ],
)
def test_a_mail_has_the_time_at_which_it_was_written(fields: list[tuple[str, str]], expected: datetime) -> None:
    assert written_at(Headers(tuple(fields)), NOW) == expected


def test_a_mail_that_comes_again_an_hour_later_has_the_same_time() -> None:
    headers = Headers((("date", SUNDAY),))
    assert written_at(headers, NOW) == written_at(headers, NOW + timedelta(hours=1))


@given(st.text(max_size=200) | st.from_regex(r"[0-9]{1,30} [A-Z][a-z]{2} [0-9]{1,30} [0-9:.]{1,20} [+-][0-9]{1,30}"))
@example("1 Jan 0001 00:00:00 +2359")
@example("31 Dec 9999 23:59:59 -2359")
@example("1 Jan 2026 00:00:00 +" + "9" * 60)
def test_no_date_raises(text: str) -> None:
    time = written_at(Headers((("date", text), ("received", text))), NOW)
    assert NOW - OLDEST <= time <= NOW + AHEAD


def test_an_automatic_answer_is_no_outcome() -> None:
    assert outcome_of([Finding(MailKind.AUTO_REPLY, "", None, "auto_reply", False, "")], COMMAND, NOW, "h") is None


def test_the_listener_waits_while_its_servers_are_away() -> None:
    outage = Outage("kafka")
    health = ListenerHealth(0, 0, [outage])
    metrics = BounceMetrics(lambda: health.ready, [outage])
    metrics.counted("bounce", "invalid_recipient")
    metrics.refused("rate")
    assert health.state().phase is Phase.STARTING
    health.enters(Phase.READY)
    assert health.ready
    outage.away(OSError("refused"))
    assert (health.state().phase, health.why_unhealthy()) == (Phase.WAITING, None)
    page = metrics.page().decode()
    assert 'ebbtide_bounces_mails_total{bounce_class="invalid_recipient",kind="bounce"} 1.0' in page
    assert 'ebbtide_bounces_server_away{server="kafka"} 1.0' in page
