"""What an SMTP reply means for the command and for the address. Pure; what the text says, `schemas.replies` judges."""

import re

from schemas.outcomes import Reply
from schemas.replies import SmtpCommand
from schemas.replies import judge as judge_text
from schemas.vocabulary import LedgerState
from senders.channels.channel import SendResult

_ENHANCED = re.compile(r"^#?([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")

LONGEST_READ = 4096
_UNPRINTABLE = re.compile(r"[^\n -~]")


def parse(code: int, text: str) -> Reply:
    """The reply with its enhanced code set apart (RFC 2034). Addresses in its text are left out."""
    words = _UNPRINTABLE.sub("?", text[:LONGEST_READ]).split()
    line = " ".join("<address>" if "@" in word else word for word in words)
    enhanced = _ENHANCED.match(line)
    rest = line[enhanced.end() :] if enhanced else line
    return Reply(
        code=min(max(code, 0), 999),
        enhanced=enhanced.group(1) if enhanced else None,
        text=rest[:1024],
    )


def judge(reply: Reply, *, at_recipient: bool, at_sender: bool = False) -> SendResult:
    """The verdict that a reply gives: `at_recipient` where it answered RCPT, `at_sender` where it answered MAIL.

    Anything that is neither 2xx nor 5xx may be tried again: 4xx says so, and a reply outside the standard proves
    nothing. A 5xx is final for this mail; whether for the address too, its text and enhanced code say.
    """
    if 200 <= reply.code < 300:
        return SendResult(LedgerState.ACCEPTED, None, reply)
    answered = SmtpCommand.MAIL if at_sender else SmtpCommand.RCPT if at_recipient else SmtpCommand.DATA
    judgment = judge_text(reply.code, reply.enhanced, reply.text, answered)
    reply_class = judgment.reply_class if judgment else None
    if not 500 <= reply.code < 600:
        return SendResult(LedgerState.DEFERRED, reply_class, reply)
    return SendResult(LedgerState.REFUSED, reply_class, reply, judgment is not None and judgment.hard)
