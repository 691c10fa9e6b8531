"""Reads SMTP replies, and says what each means for the mail. Pure. `senders.bounces` classifies the text."""

import re

from schemas.outcomes import Reply
from schemas.vocabulary import LedgerState
from senders.bounces.classifier import Classifier
from senders.bounces.refusal import Refusal, Stage
from senders.channels.channel import SendResult

_ENHANCED = re.compile(r"^#?([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)", re.ASCII)

MAX_TEXT = 4096
"""How much of a reply's text is read."""
_NOT_ASCII = re.compile(r"[^\n -~]")
_AT = re.compile("[@\ufe6b\uff20]")


def parse(code: int, text: str) -> Reply:
    """The reply, with its enhanced code (RFC 2034) apart from its text, and without the addresses in its text.

    Letters of every script stay, because the text is judged, now and later. What cannot be printed becomes `?`.
    """
    words = _NOT_ASCII.sub(_printable, text[:MAX_TEXT]).split()
    line = " ".join("<address>" if _AT.search(word) else word for word in words)
    enhanced = _ENHANCED.match(line)
    rest = line[enhanced.end() :] if enhanced else line
    return Reply(
        code=min(max(code, 0), 999),
        enhanced=enhanced.group(1) if enhanced else None,
        text=rest[:1024],
    )


def _printable(char: re.Match[str]) -> str:
    return char[0] if char[0].isprintable() else "?"


def result(reply: Reply, stage: Stage, classifier: Classifier) -> SendResult:
    """The result of a mail whose transaction ended with this reply at `stage`.

    Every reply but 2xx and 5xx may be tried again: 4xx says so, and a reply outside the standard proves nothing. The
    class of a 5xx decides whether it is final for the mail and for the address: a block, for one, is neither.
    """
    if 200 <= reply.code < 300:
        return SendResult(LedgerState.ACCEPTED, None, reply)
    if reply.code < 400:
        return SendResult(LedgerState.DEFERRED, None, reply)
    verdict = classifier.classify(Refusal(reply.text, reply.code, reply.enhanced, stage))
    final = 500 <= reply.code < 600 and not verdict.waits
    state = LedgerState.REFUSED if final else LedgerState.DEFERRED
    return SendResult(state, verdict.bounce_class, reply, verdict.hard, classifier.hash)
