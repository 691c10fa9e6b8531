"""How returned mails and automatic answers speak, in `data/phrases.toml`. Pure."""

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import re2

from senders.bounces.refusal import fold, without_accents

MAX_MEMORY = 64 << 20


class Phrases:
    """Patterns of one kind, which are read together, in time linear in the text."""

    def __init__(self, patterns: Sequence[str]) -> None:
        options = re2.Options()
        options.max_mem = MAX_MEMORY
        self._any = re2.compile("|".join(f"(?:{without_accents(pattern)})" for pattern in patterns), options)

    def folded(self, text: str) -> bool:
        """Whether any is in the folded text."""
        return self._any.search(text) is not None

    def within(self, text: str) -> bool:
        """Whether any is in the text as a mail has it."""
        return self.folded(fold(text))


@lru_cache(1)
def phrases() -> dict[str, Phrases]:
    """All phrases by their kind."""
    text = files("senders.bounces").joinpath("data/phrases.toml").read_text(encoding="utf-8")
    return {kind: Phrases(patterns) for kind, patterns in tomllib.loads(text).items()}
