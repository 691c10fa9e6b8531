"""Reads a mail into a flat list of parts, whatever it is made of. Pure, bounded, and raises nothing.

The standard library's parser follows the nesting by recursion, and decodes what is never looked at. This one keeps the
parts still to be read in a list, cuts nesting, parts and sizes, and takes damaged mails as they are.
"""

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

import re2

from senders.bounces.phrases import phrases

MAX_MAIL: Final = 2 << 20
"""How much of a mail is read: a report comes first in it, the mail that it returns last."""
MAX_PARTS: Final = 100
MAX_DEPTH: Final = 20
MAX_HEADERS: Final = 400
MAX_VALUE: Final = 4000
MAX_TEXT: Final = 64 << 10
"""How much of a part is decoded."""

_FIELD = re.compile(rb"^([!-9;-~]{1,80})[ \t]*:[ \t]*(.*)$", re.DOTALL)
_PARAMETER = re.compile(r';\s*([a-z-]{1,40})\s*=\s*(?:"([^"]{0,250})"|([^\s;"]{1,250}))', re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TAG = re.compile(r"<(?:br|/p|/div|/tr|/li|/h\d)[^>]{0,200}>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<(?![^<>]{0,100}@)[/!a-z][^<>]{0,2000}>", re.IGNORECASE)
_HIDDEN = re2.compile(r"(?is)<style\b.*?</style>|<script\b.*?</script>|<head\b.*?</head>")
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "utf7", "undefined"})
"""Names that Python decodes, and no mail means; some take a time that grows with the square of the length."""
_CHARSETS = {"gb2312": "gb18030", "gbk": "gb18030", "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "shift_jis": "cp932"}
_CHARSETS |= {"big5": "big5hkscs", "iso-8859-8-i": "iso-8859-8"}
"""Those that mails name where they mean the larger one."""
_FOREIGN = re.compile(r"[\x00-\xff]+")
_TELLING = ("bounce_subject", "bounce_body", "auto_reply_subject", "auto_reply_body")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&#64;": "@", "&amp;": "&"}


@dataclass(frozen=True, slots=True)
class Headers:
    """The fields of a header, names in lower case, values on one line, the first of a name first."""

    fields: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The first value of a name, empty if there is none."""
        return next((value for known, value in self.fields if known == name), "")

    def all(self, name: str) -> list[str]:
        """Each value of a name."""
        return [value for known, value in self.fields if known == name]

    def __contains__(self, name: str) -> bool:
        return any(known == name for known, _ in self.fields)


@dataclass(frozen=True, slots=True)
class MimePart:
    """One part that is no multipart. `returned` if it is the mail that is reported, or a part of that."""

    content_type: str
    headers: Headers
    body: bytes
    returned: bool
    mail: Headers
    """The header of the mail that it is part of."""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body without its transfer encoding."""
        return decode_body(self.body, self.headers.get("content-transfer-encoding"))

    @property
    def text(self) -> str:
        """The text of the part, HTML without its tags."""
        text = decode_text(self.body, self.headers.get("content-transfer-encoding"), self.parameters.get("charset", ""))
        return without_tags(text) if self.content_type == "text/html" else text


@dataclass(frozen=True, slots=True)
class ReturnedMail:
    """A mail: its header, its type, and its parts."""

    headers: Headers
    content_type: str
    parameters: dict[str, str]
    parts: tuple[MimePart, ...]


@dataclass(frozen=True, slots=True)
class _Unread:
    content: bytes
    depth: int
    returned: bool
    mail: Headers | None


def read_mail(raw: bytes) -> ReturnedMail:
    """The mail in `raw`, of which the first 2 MB are read."""
    content = _LINE_END.sub(b"\n", raw[:MAX_MAIL])
    if content.startswith(b"From "):
        content = content.partition(b"\n")[2]
    content = content.lstrip(b" \t\n")
    headers, _ = split_headers(content)
    content_type, parameters = media_type(headers.get("content-type"))
    return ReturnedMail(headers, content_type, parameters, tuple(_parts(content)))


def _parts(content: bytes) -> Iterator[MimePart]:
    unread = [_Unread(content, 0, False, None)]
    for _ in range(MAX_PARTS):
        if not unread:
            return
        now = unread.pop(0)
        headers, body = split_headers(now.content)
        mail = headers if now.mail is None else now.mail
        content_type, parameters = media_type(headers.get("content-type"))
        inner: list[_Unread] = []
        if now.depth < MAX_DEPTH:
            inner = list(_inner(now, content_type, parameters, headers, body, mail))
        if inner:
            unread[:0] = inner
        elif _is_bare_mail(headers) and now.depth:
            yield MimePart(content_type, headers, body, True, mail if now.returned else headers, parameters)
        else:
            yield MimePart(content_type, headers, body, now.returned, mail, parameters)


def _is_bare_mail(headers: Headers) -> bool:
    """Whether a part is a mail by itself, returned by a program that does not say so."""
    return "received" in headers and "from" in headers


def _inner(
    now: _Unread, content_type: str, parameters: dict[str, str], headers: Headers, body: bytes, mail: Headers
) -> Iterator[_Unread]:
    if content_type.startswith("multipart/") and parameters.get("boundary"):
        for piece in _pieces(body, parameters["boundary"].encode("utf-8", "replace")):
            yield _Unread(piece, now.depth + 1, now.returned, mail)
    elif content_type in (
        "message/rfc822",
        "message/global",
        "text/rfc822-headers",
        "message/global-headers",
        "message/rfc822-headers",
        "message/partial",
    ):
        encoding = headers.get("content-transfer-encoding")
        content = decode_body(body, encoding).lstrip(b"\n")
        if content:
            yield _Unread(content, now.depth + 1, True, None)


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """The parts between the lines of a boundary; the last may lack its end."""
    lines = (b"\n" + body).split(b"\n--" + boundary, MAX_PARTS + 1)
    for piece in lines[1 : MAX_PARTS + 1]:
        if piece.startswith(b"--"):
            return
        yield piece.partition(b"\n")[2]


def split_headers(content: bytes) -> tuple[Headers, bytes]:
    """The header and what follows it. What does not look like a header belongs to what follows."""
    fields: list[tuple[str, str]] = []
    position, name, value = 0, "", b""
    for _ in range(MAX_HEADERS):
        end = content.find(b"\n", position)
        line = content[position : end if end >= 0 else len(content)]
        if line[:1] in (b" ", b"\t") and name:
            value += b" " + line.strip()
        else:
            if name:
                fields.append((name, header_text(value)))
            found = _FIELD.match(line)
            if found is None:
                name = ""
                if not line and (fields or position == 0):
                    position = len(content) if end < 0 else end + 1
                break
            name, value = found.group(1).decode("ascii", "replace").lower(), found.group(2)
        if end < 0:
            position = len(content)
            break
        position = end + 1
    if name and (not fields or fields[-1] != (name, header_text(value))):
        fields.append((name, header_text(value)))
    return Headers(tuple(fields)), content[position:]


def header_text(value: bytes) -> str:
    """A header's value as text (RFC 2047), on one line."""
    text = decode_text(value[:MAX_VALUE], "", "utf-8")
    if "=?" in text:
        try:
            words = decode_header(text)
        except (HeaderParseError, ValueError, binascii.Error):
            words = []
        text = (
            "".join(
                word if isinstance(word, str) else decode_text(word, "", charset or "ascii") for word, charset in words
            )
            or text
        )
    return " ".join(text.split())


def media_type(value: str) -> tuple[str, dict[str, str]]:
    """The type of a Content-Type, `text/plain` if it has none, and its parameters."""
    content_type = value.partition(";")[0].strip().lower()
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(value[:MAX_VALUE])}
    return (content_type if "/" in content_type else "text/plain"), parameters


def decode_body(body: bytes, encoding: str) -> bytes:
    """The body without its transfer encoding. What is damaged stays as it is."""
    encoding = encoding.strip().lower()
    if encoding == "quoted-printable":
        return quopri.decodestring(body)
    if encoding == "base64":
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
        try:
            return _LINE_END.sub(b"\n", binascii.a2b_base64(letters[: len(letters) // 4 * 4]))
        except binascii.Error:
            return body
    return body


def decode_text(body: bytes, encoding: str, charset: str) -> str:
    """The text of a body: by its charset, else as UTF-8, else as Latin-1."""
    decoded = decode_body(body[: 2 * MAX_TEXT], encoding)[:MAX_TEXT]
    named = charset.strip().strip("'\"").lower().removeprefix("x-")
    for name in (_CHARSETS.get(named, named), "utf-8", "iso-2022-jp" if b"\x1b$" in decoded else ""):
        if name.lower().replace("-", "_") in _NO_CHARSETS or name.lower() in _NO_CHARSETS:
            continue
        if not name or name.lower() in ("us-ascii", "ascii", "unknown-8bit", "x-unknown"):
            if not decoded.isascii() or b"\x1b$" in decoded:
                continue
            name = "ascii"
        if b"\x1b$" in decoded and name.lower() in ("ascii", "utf-8"):
            continue
        try:
            return decoded.decode(name)
        except UnicodeDecodeError as error:
            if error.start > len(decoded) - 8:  # cut within a character
                return decoded.decode(name, "replace")
        except (LookupError, ValueError):
            continue
    return _guessed(decoded)


def _guessed(text: bytes) -> str:
    """The text of a mail that names no charset: by the first in which it says something of a delivery."""
    for charset in ("gb18030", "shift_jis", "euc-jp", "euc-kr", "big5", "koi8-r", "cp1251", "cp1254"):
        try:
            guess = text.decode(charset)
        except UnicodeDecodeError:
            continue
        if not guess.isascii() and any(phrases()[kind].within(_FOREIGN.sub(" ", guess)) for kind in _TELLING):
            return guess
    return text.decode("latin-1")


def without_tags(text: str) -> str:
    """HTML as text: lines where blocks end, nothing of scripts and styles."""
    text = _ANY_TAG.sub(" ", _TAG.sub("\n", _HIDDEN.sub(" ", text)))
    for entity, char in _ENTITIES.items():
        text = text.replace(entity, char)
    return text
