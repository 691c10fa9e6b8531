"""Properties of delivery's pure decisions: the stages, the retry schedule, and replies."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import SendCommand
from schemas.vocabulary import TRANSACTIONAL, LedgerState, SuppressionReason
from senders.bounces.classifier import load_classifier
from senders.bounces.refusal import Stage
from senders.channels.smtp.replies import parse, result
from senders.content.recipient import Recipient
from senders.policy.pipeline import EVERY_PURPOSE, Delay, DeliveryRequest, Stop, apply
from senders.queue.retry import next_attempt

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
OFFSETS = st.integers(-7200, 7200).map(lambda seconds: timedelta(seconds=seconds))
PURPOSES = st.sampled_from(["marketing", "digest", TRANSACTIONAL])
RECIPIENTS = st.builds(
    Recipient,
    user_id=st.just("u1"),
    address=st.none() | st.just("ann@example.net"),
    zone=st.none(),
    locale=st.none(),
    attributes=st.just({}),
    consent=st.dictionaries(PURPOSES, st.fixed_dictionaries({"granted": st.booleans()})),
)


@st.composite
def requests(draw: st.DrawFn) -> DeliveryRequest:
    command = SendCommand(
        id="ab" * 16,
        trigger="cart",
        rule_hash="r",
        occurrence="o",
        step="s",
        user_id="u1",
        to=draw(st.none() | st.just("desk@example.net")),
        template="t",
        template_hash="h",
        purpose=draw(PURPOSES),
        decided_at=NOW + draw(OFFSETS),
        expires_at=NOW + draw(OFFSETS),
    )
    return DeliveryRequest(
        command=command,
        now=NOW,
        admitted_at=NOW - abs(draw(OFFSETS)),
        recipient=draw(st.none() | RECIPIENTS),
        suppressed_scopes=draw(st.frozensets(st.sampled_from([EVERY_PURPOSE, "marketing", "digest"]))),
        view_as_of=draw(st.none() | OFFSETS.map(lambda offset: NOW + offset)),
        stale_after=timedelta(seconds=5),
    )


@given(requests())
def test_a_request_that_passes_all_stages_may_be_sent(request: DeliveryRequest) -> None:
    if apply(request) is not None:
        return
    purpose = request.command.purpose
    assert request.command.expires_at > NOW
    assert request.address is not None
    assert not request.suppressed_scopes & {EVERY_PURPOSE, purpose}
    if purpose != TRANSACTIONAL:
        assert request.recipient is not None
        assert request.recipient.consents(purpose)
        assert request.view_as_of is not None
        assert NOW - request.view_as_of <= request.stale_after


@given(requests())
def test_a_command_is_stopped_only_by_a_view_as_new_as_the_command(request: DeliveryRequest) -> None:
    answer = apply(request)
    if isinstance(answer, Stop) and answer.reason in (SuppressionReason.NO_RECIPIENT, SuppressionReason.NO_CONSENT):
        assert request.view_as_of is not None
        assert request.view_as_of >= min(request.command.decided_at, request.admitted_at)


@given(requests())
def test_no_command_waits_beyond_its_expiry_and_stops_are_final(request: DeliveryRequest) -> None:
    answer = apply(request)
    if isinstance(answer, Delay):
        assert NOW < answer.until <= request.command.expires_at
    if isinstance(answer, Stop):
        assert answer.state.terminal


@given(
    st.integers(1, 50),
    OFFSETS,
    st.lists(st.floats(0.1, 86_400), min_size=1, max_size=8),
    st.floats(0, 0.99),
    st.floats(0, 1, exclude_max=True),
)
def test_a_retry_is_never_in_the_past_nor_after_the_expiry(
    attempt: int, life: timedelta, schedule_s: list[float], jitter: float, chance: float
) -> None:
    expires_at = NOW + life
    at = next_attempt(attempt, NOW, expires_at, schedule_s, jitter, chance)
    assert at >= NOW
    assert at <= max(expires_at, NOW)
    if at < expires_at:
        wait_s = schedule_s[min(attempt, len(schedule_s)) - 1]
        assert wait_s * (1 - jitter) - 1e-3 <= (at - NOW).total_seconds() <= wait_s * (1 + jitter) + 1e-3


@given(st.integers(-5, 2000), st.text(max_size=200), st.sampled_from(Stage))
def test_every_reply_has_one_result_and_only_a_refusal_is_hard(code: int, text: str, answered: Stage) -> None:
    found = result(parse(code, text), answered, load_classifier())
    assert found.state in (LedgerState.ACCEPTED, LedgerState.DEFERRED, LedgerState.REFUSED)
    if found.hard:
        assert found.state is LedgerState.REFUSED


@given(st.text(), st.emails(domains=st.just("example.net")), st.text())
def test_no_plain_address_is_left_in_a_reply(before: str, address: str, after: str) -> None:
    assert "@example.net" not in parse(550, f"{before} <{address}> {after}").text
