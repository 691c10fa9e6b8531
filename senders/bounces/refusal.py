"""What is judged: the words and codes of a refusal, and how they are folded before rules look at them. Pure."""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

import re2

MAX_CHARS = 1024
"""How much of a diagnostic the rules see."""
MAX_READ = 4 * MAX_CHARS
"""How much of a text is read for that."""
_MAX_DECOMPOSED = 3 * MAX_READ
"""A syllable of Hangul becomes three letters, and some signs eighteen."""
_URL = re.compile(r"https?://([a-z0-9.-]{1,253})\S*")
_ADDRESSES = re.compile(r"(?<![^\s<>\"'()\[\],;:])(?:[^\s<>\"'()\[\],;:@]*+@[a-z0-9._-]*+)+")
"""Those that no blank or bracket separates. Begun only where a word begins, and never given back: in linear time."""
_BRACKETS = re.compile(r"(?<!<)<++address>+")
_EMBEDDED = re2.compile(r"#\s?([45]\.\d{1,3}\.\d{1,3})\b")
_LETTERS = str.maketrans(
    {"\u2019": "'", "ł": "l", "ø": "o", "æ": "ae", "ß": "ss", "đ": "d", "ı": "i", "œ": "oe", "\u00a0": " "}
)


class Stage(StrEnum):
    """Where a server refused. One mail has one recipient, so a reply to DATA may be about it as well."""

    GREETING = "greeting"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """DATA, and the final dot."""
    REPORT = "report"
    """A bounce that came by mail."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal. `code` is 0 if there is none; `delayed` if a report says that the server goes on trying."""

    text: str
    code: int = 0
    enhanced: str | None = None
    stage: Stage = Stage.REPORT
    delayed: bool = False

    @property
    def temporary(self) -> bool:
        """Whether the server may change its mind. A report of failure is final, whatever its codes."""
        if self.stage is Stage.REPORT:
            return self.delayed
        return not 500 <= self.code < 600 or (self.enhanced or "").startswith("4.")


def fold(text: str) -> str:
    """The text as the rules see it: one line, lower case, without accents, addresses, and URLs but for their host."""
    line = without_accents(" ".join(text[:MAX_READ].replace("_", " ").split()).lower())
    if "http" in line:
        line = _URL.sub(r" \1 ", line)
    if "@" in line:
        line = _BRACKETS.sub("<address>", _ADDRESSES.sub(_hidden, line))
    return line[:MAX_CHARS]


def _hidden(addresses: re.Match[str]) -> str:
    return "<address>" * addresses.group().count("@")


def without_accents(text: str) -> str:
    """The text without the marks above and below letters; patterns are written with them or without."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text)[:_MAX_DECOMPOSED].translate(_LETTERS)
    plain = "".join(char for char in plain if not "\u0300" <= char <= "\u036f")
    return unicodedata.normalize("NFC", plain).encode("utf-8", "replace").decode()


def embedded_status(folded: str) -> str | None:
    """The enhanced code that qmail puts at the end: `sorry, no mailbox here by that name. (#5.1.1)`."""
    found = _EMBEDDED.search(folded) if "#" in folded else None
    return found.group(1) if found else None
