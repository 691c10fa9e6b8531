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
from senders.queue.retry import LEAST_ASKED, RetryPolicy, next_attempt

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


POLICIES = st.builds(
    RetryPolicy,
    st.floats(0.1, 3600).map(lambda seconds: timedelta(seconds=seconds)),
    st.floats(3600, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    st.floats(0, 0.99),
)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 5000), OFFSETS, POLICIES, CHANCES, st.none() | OFFSETS)
def test_a_retry_is_never_in_the_past_nor_after_the_expiry(
    attempt: int, life: timedelta, policy: RetryPolicy, chance: float, asked: timedelta | None
) -> None:
    expires_at = NOW + life
    at = next_attempt(attempt, NOW, expires_at, policy, chance, asked)
    assert NOW <= at <= max(expires_at, NOW)


@given(st.integers(1, 5000), POLICIES, CHANCES)
def test_waits_double_up_to_the_longest_within_their_jitter(attempt: int, policy: RetryPolicy, chance: float) -> None:
    doubled = min(policy.first * 2 ** min(attempt - 1, 20), policy.longest) / timedelta(seconds=1)
    wait = policy.wait(attempt, chance) / timedelta(seconds=1)
    assert doubled * (1 - policy.jitter) - 1e-3 <= wait <= doubled * (1 + policy.jitter) + 1e-3


@given(POLICIES, CHANCES, st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_wait_that_the_receiver_asks_for_is_never_cut_short_within_the_bounds(
    policy: RetryPolicy, chance: float, asked: timedelta
) -> None:
    wait = policy.wait(1, chance, asked)
    assert min(max(asked, LEAST_ASKED), policy.longest) <= wait <= max(policy.longest, LEAST_ASKED)


@given(st.integers(-5, 2000), st.text(max_size=200), st.sampled_from(Stage))
def test_every_reply_has_one_result_and_only_a_refusal_is_hard(code: int, text: str, answered: Stage) -> None:
    found = result(parse(code, text), answered, load_classifier())
    assert found.state in (LedgerState.ACCEPTED, LedgerState.DEFERRED, LedgerState.REFUSED)
    if found.hard:
        assert found.state is LedgerState.REFUSED


@given(st.text(), st.emails(domains=st.just("example.net")), st.text())
def test_no_plain_address_is_left_in_a_reply(before: str, address: str, after: str) -> None:
    assert "@example.net" not in parse(550, f"{before} <{address}> {after}").text
