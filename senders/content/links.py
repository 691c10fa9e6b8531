"""The links of a mail that lead to our pages: their tokens and addresses. Pure.

A token says what a link is for, and names its command and, for a click, its target. It is signed, and says nothing of
the user:

    key id 1 B, kind 1 B, command id 16 B, link id 8 B (clicks only), keyed BLAKE2b 10 B    in base64url

The kind is signed too, in `person`: the token of an open pixel cannot unsubscribe.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from senders.content.quoted_printable import StaticText

COMMAND_BYTES = 16
LINK_BYTES = 8
MAC_BYTES = 10
HIDDEN_LINK = bytes(LINK_BYTES)
"""The id of the link that no reader can see. It has no target."""
LONGEST_URL = 2000
_TARGET = re.compile(r"https?://[A-Za-z0-9._~%!$&'()*+,;=:@\[\]-]+(?:[/?#][!-~]*)?", re.IGNORECASE)
_IN_TOKEN = re.compile(r"[A-Za-z0-9_-]{38}(?:[A-Za-z0-9_-]{10})?")


class LinkKind(StrEnum):
    """What a link is for. The value is its path's first part, and its byte in the token."""

    OPEN = "o"
    CLICK = "c"
    UNSUBSCRIBE = "u"
    PREFERENCES = "p"
    CONFIRM = "v"


_PERSON = {
    LinkKind.OPEN: b"ebbtide open",
    LinkKind.CLICK: b"ebbtide click",
    LinkKind.UNSUBSCRIBE: b"ebbtide unsub",
    LinkKind.PREFERENCES: b"ebbtide prefs",
    LinkKind.CONFIRM: b"ebbtide confirm",
}
_LINK = hashlib.blake2b(digest_size=LINK_BYTES, person=b"ebbtide link")
"""A copy of it costs a third of a new one."""
_SIZES = {kind: 2 + COMMAND_BYTES + MAC_BYTES + (LINK_BYTES if kind is LinkKind.CLICK else 0) for kind in LinkKind}
_KINDS = {ord(kind.value): kind for kind in LinkKind}


class LinkToken(NamedTuple):
    """What a token says that one of our keys has signed."""

    kind: LinkKind
    command_id: str
    link: bytes = b""
    """The id of a click's target."""


class _Key:
    """One secret: what it signs with, for each kind, and its id in tokens."""

    def __init__(self, secret: str) -> None:
        key = hashlib.blake2b(secret.encode(), digest_size=32).digest()
        self.id = hashlib.blake2b(key, digest_size=1, person=b"ebbtide key id").digest()
        self.signatures = {
            kind: hashlib.blake2b(key=key, digest_size=MAC_BYTES, person=person) for kind, person in _PERSON.items()
        }

    def mac(self, kind: LinkKind, text: bytes) -> bytes:
        """The signature of these bytes."""
        signature = self.signatures[kind].copy()
        signature.update(text)
        return signature.digest()


class LinkKeys:
    """The keys of links: the first one signs, each verifies."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises ValueError without a key."""
        if not secrets:
            raise ValueError("no key of links")
        self._keys = [_Key(secret) for secret in secrets]

    def token(self, kind: LinkKind, command_id: str, link: bytes = b"") -> str:
        """The token for a command, with the link's id for a click."""
        key = self._keys[0]
        text = key.id + kind.value.encode() + bytes.fromhex(command_id) + link
        return _written(text + key.mac(kind, text))

    def clicks(self, command_id: str) -> "_ClickTokens":
        """The tokens of a command's clicks."""
        return _ClickTokens(self._keys[0], command_id)

    def read(self, token: str) -> LinkToken | None:
        """What a token says; None unless one of the keys has signed exactly this text."""
        if not _IN_TOKEN.fullmatch(token):
            return None
        raw = a2b_base64(token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4))
        kind = _KINDS.get(raw[1])
        if kind is None or len(raw) != _SIZES[kind] or _written(raw) != token:
            return None
        text, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if not any(key.id == raw[:1] and hmac.compare_digest(key.mac(kind, text), mac) for key in self._keys):
            return None
        return LinkToken(kind, text[2 : 2 + COMMAND_BYTES].hex(), text[2 + COMMAND_BYTES :])


class _ClickTokens:
    """Signs what the tokens of one command have in common once."""

    def __init__(self, key: _Key, command_id: str) -> None:
        self._text = key.id + LinkKind.CLICK.value.encode() + bytes.fromhex(command_id)
        self._signature = key.signatures[LinkKind.CLICK].copy()
        self._signature.update(self._text)

    def token(self, link: bytes) -> str:
        signature = self._signature.copy()
        signature.update(link)
        return _written(self._text + link + signature.digest())


def _written(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def link_id(url: str) -> bytes:
    """By which a token and the table `links` name a click's target."""
    made = _LINK.copy()
    made.update(url.encode())
    return made.digest()


def is_target(url: str) -> bool:
    """Whether a click may lead there: an absolute address of http or https, in ASCII as it goes into a header."""
    return len(url) <= LONGEST_URL and _TARGET.fullmatch(url) is not None


class LinkPages:
    """Where the pages of recipients are, and the keys of the links to them."""

    def __init__(self, origin: str, keys: LinkKeys) -> None:
        self.origin = origin
        self.keys = keys
        self.clicks = StaticText(f"{origin}/{LinkKind.CLICK}/")
        """What stands before the token in the address of a click."""
        self.pixel = StaticText(f'<img src="{origin}/{LinkKind.OPEN}/')
        self.hidden = StaticText(f'<a href="{self.clicks}')
        self._own = f"{origin}/"

    def address(self, kind: LinkKind, command_id: str, link: bytes = b"") -> str:
        """The address of a link."""
        return f"{self.origin}/{kind}/{self.keys.token(kind, command_id, link)}"

    def of(self, command_id: str, *, opens: bool, clicks: bool, hidden: bool = False) -> "MailLinks":
        """The links of one mail, and which of its uses are tracked."""
        return MailLinks(self, command_id, opens=opens, clicks=clicks, hidden=hidden)

    def is_own(self, url: str) -> bool:
        """Whether the address is one of our pages, which no click leads to."""
        return url.startswith(self._own)


class MailLinks:
    """The links of one mail. Notes the targets of its clicks, which must be stored before the mail leaves."""

    __slots__ = ("_command_id", "_hidden", "_tokens", "opens", "pages", "targets")

    def __init__(self, pages: LinkPages, command_id: str, *, opens: bool, clicks: bool, hidden: bool) -> None:
        self.pages = pages
        self.opens = opens
        self.targets: dict[bytes, str] = {}
        """The addresses that clicks lead to, by their ids."""
        self._command_id = command_id
        self._hidden = hidden and clicks
        self._tokens = pages.keys.clicks(command_id) if clicks else None

    @property
    def clicks(self) -> bool:
        """Whether links are to be rewritten."""
        return self._tokens is not None

    @property
    def unsubscribe_url(self) -> str:
        """Where one click unsubscribes (RFC 8058)."""
        return self.pages.address(LinkKind.UNSUBSCRIBE, self._command_id)

    @property
    def preferences_url(self) -> str:
        """Where the recipient chooses what to get."""
        return self.pages.address(LinkKind.PREFERENCES, self._command_id)

    def click_token(self, link: bytes, url: str) -> str:
        """The token of a click on the link to `url`, whose id is `link`."""
        assert self._tokens is not None, "clicks of this mail are not tracked"
        self.targets[link] = url
        return self._tokens.token(link)

    def markup(self) -> Sequence[str]:
        """What the HTML part ends with, in pieces: the hidden link, and the pixel that tells of an open."""
        pieces: list[str] = []
        if self._hidden and self._tokens is not None:
            pieces += [self.pages.hidden, self._tokens.token(HIDDEN_LINK), _HIDDEN_END]
        if self.opens:
            pieces += [self.pages.pixel, self.pages.keys.token(LinkKind.OPEN, self._command_id), _PIXEL_END]
        return pieces


_PIXEL_END = StaticText('" width="1" height="1" alt="" style="display:block;border:0">')
_HIDDEN_END = StaticText('" style="display:none" tabindex="-1" aria-hidden="true"></a>')
