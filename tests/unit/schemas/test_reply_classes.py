"""What replies of the large providers and common servers say: their class, and whether they condemn the address.

The replies are in `replies/condemn.txt` and `replies/spare.txt`, one a line.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.replies import SmtpCommand, judge
from schemas.vocabulary import HARD, ReplyClass
from senders.channels.smtp.replies import parse

REPLIES = Path(__file__).parent / "replies"
WORDS = ["user", "unknown", "relay", "spam", "mailbox", "not", "found", "policy", "sender", "no", "such", "moved"]


def replies(name: str) -> list[tuple[str, str, int, str]]:
    return list(_lines(name))


def _lines(name: str) -> Iterator[tuple[str, str, int, str]]:
    for line in (REPLIES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            answered, reply_class, reply = line.split(" ", 2)
            yield answered, reply_class, int(reply[:3]), reply[4:].replace("\\n", "\n")


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("condemn.txt"))
def test_a_reply_that_an_address_does_not_exist_suppresses_it(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    reply = parse(code, text)
    judgment = judge(reply.code, reply.enhanced, reply.text, SmtpCommand(answered))
    assert judgment is not None
    assert (judgment.reply_class.value, judgment.hard) == (reply_class, True)


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("spare.txt"))
def test_a_reply_about_us_this_mail_or_the_moment_spares_the_address(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    reply = parse(code, text)
    judgment = judge(reply.code, reply.enhanced, reply.text, SmtpCommand(answered))
    assert judgment is not None
    assert (judgment.reply_class.value, judgment.hard) == (reply_class, False)


@pytest.mark.parametrize(("answered", "reply_class", "code", "text"), replies("condemn.txt"))
def test_a_reply_that_suppresses_at_rcpt_does_not_at_mail_or_as_a_4xx(
    answered: str, reply_class: str, code: int, text: str
) -> None:
    reply = parse(code, text)
    for changed, where in ((code, SmtpCommand.MAIL), (code - 100, SmtpCommand.RCPT)):
        judgment = judge(changed, reply.enhanced, reply.text, where)
        assert judgment is not None
        assert not judgment.hard, (answered, reply_class)


@given(
    st.integers(0, 999),
    st.none() | st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True),
    st.text(max_size=200) | st.lists(st.sampled_from(WORDS)).map(" ".join),
    st.sampled_from(SmtpCommand),
)
def test_only_a_5xx_with_a_permanent_class_suppresses(
    code: int, enhanced: str | None, text: str, answered: SmtpCommand
) -> None:
    judgment = judge(code, enhanced, text, answered)
    assert (judgment is None) is (code < 400)
    if judgment is not None and judgment.hard:
        assert 500 <= code < 600
        assert answered is not SmtpCommand.MAIL
        assert judgment.reply_class in HARD


@pytest.mark.parametrize("about_us", ["relaying denied", "listed at dnsbl.example", "sender rejected", "local policy"])
@pytest.mark.parametrize("code", ["", "5.1.1 ", "5.1.2 ", "5.1.10 ", "5.0.0 "])
def test_a_text_about_us_spares_the_address_whatever_the_enhanced_code(about_us: str, code: str) -> None:
    reply = parse(550, code + about_us)
    judgment = judge(reply.code, reply.enhanced, reply.text, SmtpCommand.RCPT)
    assert judgment is not None
    assert not judgment.hard
    assert judgment.reply_class not in (ReplyClass.UNCLASSIFIED, *HARD)
