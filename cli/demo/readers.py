"""The demo's readers: they load what a mail holds and follow its links by HTTP. Two of them unsubscribe."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.client import HTTPConnection
from types import TracebackType
from typing import Self

from cli.demo.books import Books, Check, command_of
from infra.local.sink_mails import ReceivedMail
from schemas.errors import UserError
from schemas.vocabulary import OutcomeKind

OPENS, CLICKS = 0.4, 0.15
"""The shares of mails that are opened, and whose link is followed."""
PATIENCE_S = 30.0
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_PERSON = {"User-Agent": _AGENT, "Accept-Language": "en", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
_PIXEL = {"User-Agent": _AGENT, "Accept-Language": "en", "Sec-Fetch-Mode": "no-cors"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_HREF = re.compile(r'(?:href|src)="([^"]+)"')


class NotAnswered(UserError):
    """A link in a mail did not do what it should."""


@dataclass(frozen=True, slots=True)
class ReceivedLinks:
    """The paths of one mail that lead to us."""

    command: str
    pixel: str | None
    clicks: tuple[str, ...]
    unsubscribe: str | None


@dataclass(slots=True)
class ReaderActions:
    """What the readers did, by command."""

    opened: list[str] = field(default_factory=list)
    clicked: list[str] = field(default_factory=list)
    unsubscribed: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many outcomes there must be of it."""
        return len(self.opened) + len(self.clicked) + len(self.unsubscribed)


class Readers:
    """A connection to the pages behind `origin`, which the demo serves on a local port."""

    def __init__(self, origin: str, port: int) -> None:
        self._origin = origin
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, mails: Sequence[ReceivedMail], chance: random.Random, leaving: int) -> ReaderActions:
        """Opens and follows links at random; the first `leaving` mails with a way to unsubscribe use it."""
        done = ReaderActions()
        for mail in mails:
            links = links_of(mail, self._origin)
            if links.pixel is not None and chance.random() < OPENS:
                self._get(links.pixel, 200, _PIXEL)
                done.opened.append(links.command)
            if links.clicks and chance.random() < CLICKS:
                self._get(links.clicks[0], 302, _PERSON)
                done.clicked.append(links.command)
            if links.unsubscribe is not None and len(done.unsubscribed) < leaving:
                self._ask("POST", links.unsubscribe, 200, _FORM, b"List-Unsubscribe=One-Click")
                done.unsubscribed.append(links.command)
        return done

    def _get(self, path: str, status: int, headers: dict[str, str]) -> None:
        self._ask("GET", path, status, headers, None)

    def _ask(self, method: str, path: str, status: int, headers: dict[str, str], body: bytes | None) -> None:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != status:
            raise NotAnswered(f"{method} {path} was answered with {answer.status} instead of {status}")


def check_reading(done: ReaderActions) -> Check:
    """Mails had links that lead to our pages, and readers followed them."""
    detail = f"{len(done.opened):,} opens, {len(done.clicked):,} clicks"
    return Check("readers open mails and follow their links", bool(done.opened and done.clicked), detail)


def check_leaving(books: Books, done: ReaderActions, suppressed: int, leaving: int) -> Check:
    """`leaving` readers unsubscribed; each is suppressed for that purpose, and nobody else."""
    told = Counter(outcome.command_id for outcome in books.outcomes if outcome.kind is OutcomeKind.UNSUBSCRIBED)
    holds = told == Counter(done.unsubscribed) and suppressed == len(done.unsubscribed) == leaving
    detail = f"{len(done.unsubscribed)} used the link, {told.total()} outcomes, {suppressed} suppressed"
    return Check("who unsubscribed gets no more of that purpose", holds, detail)


def links_of(mail: ReceivedMail, origin: str) -> ReceivedLinks:
    """The links of a mail that lead to `origin`, by what their path begins with."""
    parsed = message_from_bytes(mail.raw, policy=policy.default)
    body = parsed.get_body(preferencelist=("html",))
    found = [
        url.removeprefix(origin) for url in _HREF.findall(body.get_content() if body else "") if url.startswith(origin)
    ]
    header = str(parsed.get("List-Unsubscribe", "")).strip("<>")
    return ReceivedLinks(
        command_of(mail),
        next((path for path in found if path.startswith("/o/")), None),
        tuple(path for path in found if path.startswith("/c/")),
        header.removeprefix(origin) if header.startswith(origin) else None,
    )
