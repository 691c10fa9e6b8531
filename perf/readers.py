"""ReaderCrowd of mails and their providers: what becomes of one mail, by chance."""

import math
import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.vocabulary import Evidence, OutcomeKind

_PROVIDERS = {"google": 42, "microsoft": 26, "yahoo": 12, "apple": 11, "other": 9}
_BLOCKED_FROM, _BLOCKED_TO = datetime(2026, 4, 20, tzinfo=UTC), datetime(2026, 4, 23, tzinfo=UTC)
"""When one provider puts off and refuses what it gets."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A mailbox: its provider, whether a machine looks through its mail, and whether its images come by a proxy."""

    provider: str
    scanned: bool
    proxied: bool


@dataclass(frozen=True, slots=True)
class MailFact:
    """One thing that happens to a mail."""

    kind: OutcomeKind
    time: datetime
    provider: str
    attempt: int = 0
    machine: bool | str = "unknown"
    evidence: Evidence | None = None
    code: int | None = None
    classification: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of an outcome that it says."""
        reply = None if self.code is None else {"code": self.code, "text": "made up"}
        names = ("kind", "time", "provider", "attempt", "machine", "evidence", "classification")
        return {"reply": reply, **{name: getattr(self, name) for name in names}}

    @property
    def by_reader(self) -> bool:
        """Whether somebody clicked."""
        return self.kind is OutcomeKind.CLICKED and self.machine is not True

    @property
    def unsubscribes(self) -> bool:
        """Whether there will be no more marketing."""
        return self.kind in (OutcomeKind.UNSUBSCRIBED, OutcomeKind.COMPLAINED)


class ReaderCrowd:
    """Makes readers, and lets them read."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance

    def reader(self) -> Reader:
        """A new one."""
        [provider] = self._random.choices([*_PROVIDERS], [*_PROVIDERS.values()])
        scanned = self._random.random() < {"microsoft": 0.3, "other": 0.25}.get(provider, 0.02)
        return Reader(provider, scanned, provider in ("google", "apple", "yahoo"))

    def life_of_a_mail(
        self, reader: Reader, at: datetime, opens: float, clicks: float, leaves: float
    ) -> Iterator[MailFact]:
        """What happens to a mail that is handed to delivery at this moment, in the order of time but for bounces."""
        taken = yield from self._transactions(reader, at)
        if taken is None:
            return
        if self._random.random() < 0.004:
            late = taken + timedelta(minutes=self._random.uniform(1, 90))
            yield MailFact(OutcomeKind.BOUNCED, late, reader.provider, classification="quota_issues")
            return
        if reader.scanned and self._random.random() < 0.8:
            for kind in (OutcomeKind.OPENED, OutcomeKind.CLICKED, OutcomeKind.CLICKED):
                soon = taken + timedelta(seconds=self._random.uniform(1, 30))
                yield MailFact(kind, soon, reader.provider, machine=True, evidence=Evidence.BURST)
        if reader.provider == "apple" and self._random.random() < 0.6:
            early = taken + timedelta(minutes=self._random.uniform(2, 200))
            yield MailFact(OutcomeKind.OPENED, early, reader.provider, evidence=Evidence.PROXY)
        if self._random.random() < opens:
            yield from self._reads(reader, taken, clicks, leaves)

    def _transactions(self, reader: Reader, at: datetime) -> Generator[MailFact, None, datetime | None]:
        blocked = reader.provider == "microsoft" and _BLOCKED_FROM <= at < _BLOCKED_TO
        put_off, refused = (0.35, 0.3) if blocked else (0.02, 0.006)
        attempt, at = 1, at + timedelta(seconds=self._random.lognormvariate(math.log(2.5), 0.8))
        while self._random.random() < put_off and attempt < 4:
            yield MailFact(OutcomeKind.DEFERRED, at, reader.provider, attempt, code=451, classification="rate_limited")
            attempt, at = attempt + 1, at + timedelta(minutes=self._random.uniform(4, 20) * 2**attempt)
        if self._random.random() < refused:
            why = "spam_block" if blocked else "invalid_recipient"
            yield MailFact(OutcomeKind.REFUSED, at, reader.provider, attempt, code=550, classification=why)
            return None
        yield MailFact(OutcomeKind.ACCEPTED, at, reader.provider, attempt, code=250)
        return at

    def _reads(self, reader: Reader, taken: datetime, clicks: float, leaves: float) -> Iterator[MailFact]:
        at = taken + timedelta(minutes=2 + self._random.expovariate(1 / 240))
        evidence = Evidence.PROXY if reader.proxied else Evidence.NONE
        yield MailFact(OutcomeKind.OPENED, at, reader.provider, evidence=evidence)
        if self._random.random() < clicks:
            at += timedelta(seconds=self._random.uniform(5, 120))
            sure = self._random.random() < 0.85
            yield MailFact(
                OutcomeKind.CLICKED, at, reader.provider, machine=False if sure else "unknown",
                evidence=Evidence.NAVIGATION if sure else Evidence.NONE,
            )  # fmt: skip
        if self._random.random() < leaves:
            yield MailFact(
                OutcomeKind.UNSUBSCRIBED, at + timedelta(seconds=40), reader.provider, machine=False,
                evidence=Evidence.PAGE_POST,
            )  # fmt: skip
        elif self._random.random() < leaves / 4:
            yield MailFact(OutcomeKind.COMPLAINED, at + timedelta(hours=3), reader.provider)
