"""MTA-STS policies as domains publish them (RFC 8461, 3.1 and 3.2). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_MAX_AGE_S: Final = 31_557_600
MAX_PATTERNS: Final = 100
_ID = re.compile(r"v=STSv1[ \t]*;[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;.*)?", re.DOTALL)
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class StsMode(StrEnum):
    """What a domain wants if a mail server does not match its policy."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class InvalidPolicy(ValueError):
    """It is no MTA-STS policy; the text says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """Which hosts may get the mail of a domain, and for how long that holds."""

    mode: StsMode
    max_age_s: int
    patterns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "StsPolicy":
        """Read a policy file; raises InvalidPolicy. Of a key that occurs twice the first counts, except `mx`."""
        fields: dict[str, str] = {}
        patterns: list[str] = []
        for line in text.splitlines():
            key, colon, value = (part.strip() for part in line.partition(":"))
            if not line.strip():
                continue
            if not colon:
                raise InvalidPolicy("a line without a colon")
            if key == "mx":
                patterns.append(value.lower().rstrip("."))
            else:
                fields.setdefault(key, value)
        return cls._of(fields, patterns)

    @classmethod
    def _of(cls, fields: dict[str, str], patterns: Sequence[str]) -> "StsPolicy":
        if fields.get("version") != "STSv1":
            raise InvalidPolicy("not of version STSv1")
        try:
            mode = StsMode(fields.get("mode", ""))
        except ValueError:
            raise InvalidPolicy("no known mode") from None
        age = fields.get("max_age", "")
        if not (age.isascii() and age.isdigit() and len(age) <= 10):
            raise InvalidPolicy("max_age is no number")
        if len(patterns) > MAX_PATTERNS or not all(map(_PATTERN.fullmatch, patterns)):
            raise InvalidPolicy("an mx that is no host name, or too many of them")
        if not patterns and mode is not StsMode.NONE:
            raise InvalidPolicy("no mx")
        return cls(mode, min(int(age), LONGEST_MAX_AGE_S), tuple(patterns))

    def allows(self, host: str) -> bool:
        """Whether the host may get mail; `*.` stands for one label (4.1)."""
        return any(
            host == pattern or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
            for pattern in self.patterns
        )


def published_id(records: Sequence[str]) -> str | None:
    """The id in the TXT records of `_mta-sts`; None unless exactly one record is of MTA-STS and has one (3.1)."""
    ours = [record for record in records if record.startswith("v=STSv1")]
    found = _ID.fullmatch(ours[0]) if len(ours) == 1 else None
    return found.group(1) if found else None
