"""What an SMTP server offers after EHLO, as far as mails need it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extensions:
    """The service extensions of one session; a server that knows only HELO has none."""

    pipelining: bool = False
    """RFC 2920: commands need not wait for replies."""
    chunking: bool = False
    """RFC 3030: BDAT."""
    eight_bit: bool = False
    """RFC 6152: 8BITMIME."""
    utf8: bool = False
    """RFC 6531: SMTPUTF8."""
    size: bool = False
    """RFC 1870: MAIL may say the size."""
    max_size: int | None = None
    max_mails: int | None = None
    """RFC 9422: how many mails the server takes in a session."""

    @classmethod
    def of(cls, keywords: Mapping[str, str]) -> "Extensions":
        """Read what EHLO answered: parameters by keyword, in small letters. What cannot be read is not offered."""
        return cls(
            pipelining="pipelining" in keywords,
            chunking="chunking" in keywords,
            eight_bit="8bitmime" in keywords,
            utf8="smtputf8" in keywords,
            size="size" in keywords,
            max_size=_positive(keywords.get("size", "")),
            max_mails=_limit(keywords.get("limits", ""), "MAILMAX"),
        )


def _positive(text: str) -> int | None:
    """The number; None if it is none, or 0, which says that there is no limit (RFC 1870, 3)."""
    text = text.strip()
    return (int(text) or None) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _limit(limits: str, name: str) -> int | None:
    """One of the limits `NAME=number NAME=number` (RFC 9422, 3)."""
    pairs = (pair.partition("=") for pair in limits.split())
    return next((_positive(value) for key, _, value in pairs if key.upper() == name), None)
