"""What replies of the large providers and common servers say: their class, and whether they condemn the address.

The replies are in `replies/condemn.txt` and `replies/spare.txt`, one a line.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.vocabulary import HARD, LedgerState, ReplyClass
from senders.bounces.classifier import Judgment, load_classifier
from senders.bounces.refusal import Refusal, Stage
from senders.channels.smtp.replies import parse, result

REPLIES = Path(__file__).parent / "replies"
WORDS = ["user", "unknown", "relay", "spam", "mailbox", "not", "found", "policy", "sender", "no", "such", "moved"]


def replies(name: str) -> list[tuple[str, str, int, str]]:
    return list(_lines(name))


def _lines(name: str) -> Iterator[tuple[str, str, int, str]]:
    for line in (REPLIES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            answered, reply_class, reply = line.split(" ", 2)
            yield answered, reply_class, int(reply[:3]), reply[4:].replace("\\n", "\n")


def judge(code: int, text: str, stage: Stage) -> Judgment:
    reply = parse(code, text)
    return load_classifier().classify(Refusal(reply.text, reply.code, reply.enhanced, stage))


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("condemn.txt"))
def test_a_reply_that_an_address_does_not_exist_suppresses_it(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    verdict = judge(code, text, Stage(answered))
    assert (verdict.bounce_class, verdict.hard) == (reply_class, True)


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("spare.txt"))
def test_a_reply_about_us_this_mail_or_the_moment_spares_the_address(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    verdict = judge(code, text, Stage(answered))
    assert (verdict.bounce_class, verdict.hard) == (reply_class, False)


@pytest.mark.parametrize("enhanced", ["", "5.1.1 ", "5.7.1 ", "5.0.0 "])
@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize(
    "text",
    [
        "JunkMail rejected - mail.harbour.example [192.0.2.1]:25 is in an RBL, see http://lists.example/query",
        "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
        "SC-001 (COL004-MC1F1) Unfortunately, messages from 192.0.2.1 weren't sent.",
        "Rule imposed as too many mails have been sent",
        "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "rejected by local policy",
        "mailbox full",
    ],
)
def test_a_block_neither_suppresses_nor_finishes_a_mail_at_any_stage_and_with_any_code(
    text: str, stage: Stage, enhanced: str
) -> None:
    for code in (550, 554):
        found = result(parse(code, enhanced + text), stage, load_classifier())
        assert (found.state, found.hard) == (LedgerState.DEFERRED, False), found.reason


def test_a_refusal_at_the_greeting_is_about_us_whatever_it_says() -> None:
    for text in ("no", "", "No SMTP service here", "user unknown", "go away"):
        verdict = judge(554, text, Stage.GREETING)
        assert (verdict.hard, verdict.waits) == (False, verdict.bounce_class != ReplyClass.INVALID_SENDER)


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("condemn.txt"))
def test_a_reply_that_suppresses_at_rcpt_does_not_at_mail_or_as_a_4xx(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    for changed, stage in ((code, Stage.MAIL), (code - 100, Stage.RCPT)):
        assert not judge(changed, text, stage).hard, (answered, reply_class)


@given(
    st.integers(400, 599),
    st.none() | st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True),
    st.text(max_size=200) | st.lists(st.sampled_from(WORDS)).map(" ".join),
    st.sampled_from(Stage),
)
def test_only_a_5xx_with_a_permanent_class_suppresses(code: int, enhanced: str | None, text: str, stage: Stage) -> None:
    verdict = load_classifier().classify(Refusal(text, code, enhanced, stage))
    assert verdict.hard is (verdict.bounce_class in HARD)
    if verdict.hard and stage is not Stage.REPORT:
        assert 500 <= code < 600
        assert stage in (Stage.RCPT, Stage.DATA)


@pytest.mark.parametrize("about_us", ["relaying denied", "listed at dnsbl.example", "sender rejected", "local policy"])
@pytest.mark.parametrize("code", ["", "5.1.1 ", "5.1.2 ", "5.1.10 ", "5.0.0 "])
def test_a_text_about_us_spares_the_address_whatever_the_enhanced_code(about_us: str, code: str) -> None:
    verdict = judge(550, code + about_us, Stage.RCPT)
    assert not verdict.hard
    assert verdict.bounce_class not in (ReplyClass.UNCATEGORIZED, *HARD)
