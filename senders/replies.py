"""What an SMTP reply means for the command and for the address. Pure."""

import re
from dataclasses import dataclass

from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState

_ENHANCED = re.compile(r"^([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")

BAD_RECIPIENT = frozenset({"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10"})
"""Enhanced codes (RFC 3463 and IANA's registry) that condemn the recipient's address. 5.1.7 to 5.1.9 are about ours."""
LONGEST_READ = 4096
_UNPRINTABLE = re.compile(r"[^\n -~]")
SAYS_NOTHING = frozenset({None, "5.0.0"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mail transaction. `reply` is absent where the server gave none."""

    state: LedgerState
    reason: DeliveryReason | None = None
    reply: Reply | None = None

    @property
    def hard_bounce(self) -> bool:
        """Whether the address is to get no mail at all any more."""
        return self.reason is DeliveryReason.HARD_BOUNCE


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


def judge(reply: Reply, *, at_recipient: bool) -> Verdict:
    """The verdict that a reply gives; `at_recipient` where it answered RCPT TO.

    Anything that is neither 2xx nor 5xx may be tried again: 4xx says so, and a reply outside the standard proves
    nothing. A policy refusal (5.7.x) is final for this mail but says nothing about the address.
    """
    if 200 <= reply.code < 300:
        return Verdict(LedgerState.ACCEPTED, None, reply)
    if not 500 <= reply.code < 600:
        return Verdict(LedgerState.DEFERRED, None, reply)
    condemned = reply.enhanced in BAD_RECIPIENT or (
        at_recipient and reply.code == 550 and reply.enhanced in SAYS_NOTHING
    )
    return Verdict(LedgerState.REFUSED, DeliveryReason.HARD_BOUNCE if condemned else None, reply)
