"""Reads SMTP replies, and says what each means for the mail. Pure. `schemas.replies` classifies the text."""

import re

from schemas.outcomes import Reply
from schemas.replies import SmtpCommand, judge
from schemas.vocabulary import LedgerState
from senders.channels.channel import SendResult

_ENHANCED = re.compile(r"^#?([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")

MAX_TEXT = 4096
"""How much of a reply's text is read."""
_UNPRINTABLE = re.compile(r"[^\n -~]")


def parse(code: int, text: str) -> Reply:
    """The reply, with its enhanced code (RFC 2034) apart from its text, and without the addresses in its text."""
    words = _UNPRINTABLE.sub("?", text[:MAX_TEXT]).split()
    line = " ".join("<address>" if "@" in word else word for word in words)
    enhanced = _ENHANCED.match(line)
    rest = line[enhanced.end() :] if enhanced else line
    return Reply(
        code=min(max(code, 0), 999),
        enhanced=enhanced.group(1) if enhanced else None,
        text=rest[:1024],
    )


def result(reply: Reply, answered: SmtpCommand) -> SendResult:
    """The result of a mail whose transaction ended with this reply to the command `answered`.

    Every reply but 2xx and 5xx may be tried again: 4xx says so, and a reply outside the standard proves nothing. A 5xx
    is final for this mail. Its text and enhanced code say whether it is final for the address too.
    """
    if 200 <= reply.code < 300:
        return SendResult(LedgerState.ACCEPTED, None, reply)
    judgment = judge(reply.code, reply.enhanced, reply.text, answered)
    reply_class = judgment.reply_class if judgment else None
    if not 500 <= reply.code < 600:
        return SendResult(LedgerState.DEFERRED, reply_class, reply)
    return SendResult(LedgerState.REFUSED, reply_class, reply, judgment is not None and judgment.hard)
