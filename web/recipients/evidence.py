"""Tells machines from people by what a request and its neighbours show. Pure.

Of a request only its signals are kept: neither its address nor its agent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.vocabulary import MACHINES, PEOPLE, Evidence, OutcomeKind

BURST_US = 2_000_000
"""Two links of a mail within this time: nobody reads so fast."""
EARLY_US = 60_000_000
"""So long after acceptance the receiver's scanners are at work."""
_NEIGHBOURS = 16
"""Of a burst, the last ones are enough to find the next."""

_PROXIES = ("GoogleImageProxy", "YahooMailProxy")
_APPLE_PROXY = "Mozilla/5.0"
"""All that the agent of Apple's proxy says (ua-parser/uap-core#509)."""
_NO_BOT = "cubot"
"""Makes telephones."""
_BOTS = (
    *(
        "bot",
        "crawl",
        "spider",
        "scan",
        "slurp",
        "fetch",
        "preview",
        "headless",
        "phantomjs",
        "puppeteer",
        "playwright",
    ),
    *("selenium", "curl", "wget", "libwww", "python", "aiohttp", "httpx", "okhttp", "java/", "httpclient", "go-http"),
    *("node.js", "axios", "ruby", "perl", "php/", "monitor", "proofpoint", "mimecast", "barracuda", "safelinks"),
    *("virustotal", "facebookexternalhit", "whatsapp"),
)
"""What the agents of programs say, in lower case. Twenty times as fast as a regular expression of the same words."""
_PREFETCH = re.compile(r"\bprefetch|\bprerender|\bpreview", re.IGNORECASE)


class Signals(NamedTuple):
    """What the headers of a request show."""

    head: bool = False
    bot: bool = False
    proxy: bool = False
    prefetch: bool = False
    navigation: bool = False


@dataclass(slots=True)
class Hit:
    """One request of a mail's link or pixel."""

    kind: Literal[OutcomeKind.OPENED, OutcomeKind.CLICKED]
    command_id: str
    at_us: int
    """Microseconds since 1970."""
    signals: Signals
    link: bytes = b""
    url: str | None = None
    """Where a click led; None for the hidden link."""
    in_burst: bool = False
    opened_before: bool = False


def signals_of(method: str, headers: Mapping[str, str]) -> Signals:
    """The signals of a request. Names of headers are in lower case."""
    agent = headers.get("user-agent", "").strip()
    proxy = agent == _APPLE_PROXY or any(name in agent for name in _PROXIES)
    purposes = [headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz")]
    return Signals(
        head=method == "HEAD",
        bot=not proxy and _is_bot(agent.lower()),
        proxy=proxy,
        prefetch=any(map(_PREFETCH.search, purposes)),
        navigation=headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-user") == "?1",
    )


def _is_bot(agent: str) -> bool:
    agent = agent.replace(_NO_BOT, "")
    return not agent or any(word in agent for word in _BOTS)


def evidence_of(hit: Hit, accepted_us: int | None) -> Evidence:
    """What tells who made this request, to a mail that was accepted then; None if that is unknown."""
    signals = hit.signals
    clicked = hit.kind is OutcomeKind.CLICKED
    early = accepted_us is not None and hit.at_us - accepted_us < EARLY_US
    if signals.head:
        return Evidence.HEAD
    if clicked and hit.url is None:
        return Evidence.HIDDEN_LINK
    if signals.bot:
        return Evidence.BOT_AGENT
    if signals.prefetch or (signals.proxy and early):
        return Evidence.PREFETCH
    if hit.in_burst:
        return Evidence.BURST
    if signals.proxy:
        return Evidence.PROXY
    if clicked and early and not hit.opened_before and not signals.navigation:
        return Evidence.EARLY_CLICK
    if signals.navigation and accepted_us is not None and not early:
        return Evidence.NAVIGATION
    return Evidence.NONE


def is_machine(evidence: Evidence) -> bool | Literal["unknown"]:
    """Whether a machine was behind it, as far as the evidence tells."""
    if evidence in MACHINES:
        return True
    return False if evidence in PEOPLE else "unknown"


class _Recent:
    """The last clicks of one command, and whether it was opened."""

    __slots__ = ("clicks", "opened")

    def __init__(self) -> None:
        self.clicks: list[Hit] = []
        self.opened = False


class RecentHits:
    """Finds bursts: the requests of a command shortly before and after each other. Forgets the oldest command first."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._recent: dict[str, _Recent] = {}

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, hit: Hit) -> None:
        """Mark this request, and those before it, if they are a burst together. Later requests may still mark it."""
        recent = self._recent.pop(hit.command_id, None) or _Recent()
        self._recent[hit.command_id] = recent
        if len(self._recent) > self._most:
            del self._recent[next(iter(self._recent))]
        hit.opened_before = recent.opened
        if hit.kind is OutcomeKind.OPENED:
            recent.opened = True
            return
        near = [each for each in recent.clicks if abs(hit.at_us - each.at_us) <= BURST_US][-_NEIGHBOURS + 1 :]
        for each in near:
            if each.link != hit.link:
                each.in_burst = hit.in_burst = True
        recent.clicks = [*near, hit]
