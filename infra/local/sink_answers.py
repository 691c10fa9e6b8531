"""What the sink of providers answers, by its script. Pure but for the memory of what it answered before."""

import random
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.sink_script import Provider, RateBlock, ScriptedAnswer, SinkScript, Stage

DEFERRAL = "451 4.7.1 try again later"
BOUNCE = "550 5.1.1 no such user"
GREYLISTED = "451 4.7.1 greylisted, please come again"
_EVERYBODY = Provider(name="everybody")
_SHARES = 1 << 32


@dataclass(frozen=True, slots=True)
class SinkAnswer:
    """A reply; an empty text closes the connection without one. `keep` says that the mail counts as received."""

    text: str
    keep: bool = False

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return not self.text or self.text.startswith("421")


@dataclass(slots=True)
class AnswerBook:
    """Answers for all connections of one sink. Times are seconds since its start; `directory` is the sink's."""

    script: SinkScript
    directory: Path = Path()
    anybody: Provider = field(init=False)
    """Answers before the recipient is known: the first provider for all recipients."""
    _chance: random.Random = field(init=False)
    _providers: dict[str, Provider] = field(init=False, default_factory=dict)
    _given: Counter[tuple[int, str]] = field(init=False, default_factory=Counter)
    _first_seen: dict[tuple[str, str, str], float] = field(init=False, default_factory=dict)
    _recent: dict[tuple[str, str], deque[float]] = field(init=False, default_factory=dict)
    _blocked_until: dict[tuple[str, str], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.script.seed)  # noqa: S311  # a script, nothing secret
        self.anybody = next((each for each in self.script.provider if "*" in each.recipients), _EVERYBODY)

    def provider(self, recipient: str) -> Provider:
        """The provider that answers for a recipient."""
        domain = recipient.rpartition("@")[2]
        if all(pattern.startswith("*@") for each in self.script.provider for pattern in each.recipients):
            recipient = domain = f"x@{domain}"  # one answer for the domain, and a memory that does not grow
        if recipient not in self._providers:
            matching = (each for each in self.script.provider if each.matches(recipient))
            self._providers[recipient] = next(matching, _EVERYBODY)
        return self._providers[recipient]

    def before_recipient(self, at: Stage, source: str, now: float) -> SinkAnswer | None:
        """The answer at `connect` or `mail`, before the recipient is known; None for the usual one."""
        return self._scripted(self.anybody, at, source, "", now)

    def at_recipient(self, provider: Provider, source: str, mail_from: str, to: str, now: float) -> SinkAnswer | None:
        """The answer to RCPT; None for 250."""
        if found := self._scripted(provider, "rcpt", source, to, now):
            return found
        if provider.rate is not None and self._is_blocked(provider.name, provider.rate, source, now):
            return SinkAnswer(provider.rate.reply)
        if provider.bounce and _share_of(to) < provider.bounce:
            return SinkAnswer(BOUNCE)
        if provider.greylist_s and not self._is_known(source, mail_from, to, provider.greylist_s, now):
            return SinkAnswer(GREYLISTED)
        if provider.deferral and self._chance.random() < provider.deferral:
            return SinkAnswer(DEFERRAL)
        return None

    def at_message(self, provider: Provider, at: Stage, source: str, to: str, now: float) -> SinkAnswer | None:
        """The answer at `data` or `dot`; None for the usual one."""
        return self._scripted(provider, at, source, to, now) if provider.replies else None

    def latency_s(self, provider: Provider) -> float:
        """How long this provider takes for its next replies."""
        low, high = provider.latency_ms
        return (low if low == high else self._chance.uniform(low, high)) / 1000

    def _scripted(self, provider: Provider, at: Stage, source: str, to: str, now: float) -> SinkAnswer | None:
        for each in provider.replies:
            if each.at == at and self._applies(each, source, to, now):
                return SinkAnswer(each.text, each.keep)
        return None

    def _applies(self, each: ScriptedAnswer, source: str, to: str, now: float) -> bool:
        if each.sources and source not in each.sources:
            return False
        if not each.from_s <= now < each.until_s or (each.share < 1 and self._chance.random() >= each.share):
            return False
        if each.until_file is not None and (self.directory / each.until_file).exists():
            return False
        if each.times is not None:
            self._given[id(each), to] += 1
            return self._given[id(each), to] <= each.times
        return True

    def _is_blocked(self, name: str, rate: RateBlock, source: str, now: float) -> bool:
        key = (name, source)
        if now < self._blocked_until.get(key, 0.0):
            return True
        recent = self._recent.setdefault(key, deque())
        while recent and recent[0] <= now - rate.per_s:
            recent.popleft()
        if len(recent) < rate.mails:
            recent.append(now)
            return False
        self._blocked_until[key] = now + rate.block_s
        return True

    def _is_known(self, source: str, mail_from: str, to: str, wait_s: float, now: float) -> bool:
        first = self._first_seen.setdefault((source, mail_from, to), now)
        return now >= first + wait_s


def _share_of(address: str) -> float:
    """The same number from 0 to 1 for an address each time."""
    return zlib.crc32(address.lower().encode()) / _SHARES
