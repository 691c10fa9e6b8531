"""Which source a mail leaves from: its own by weight, another of the pool while that one is suspended. Pure.

A mail's own source follows from its id (weighted rendezvous hashing), so a deferred mail comes back from the same
address, which greylisting wants, and a source that drops out moves its own slice only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from senders.shaping.document import ShapingDocument

DEFAULT_SOURCE = "default"
"""The one source of a file that names none."""


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """The sources that a mail may leave from, the best first. Empty: no pool takes its purpose."""

    sources: tuple[str, ...]

    def first(self, suspended: Callable[[str], bool]) -> str | None:
        """The best source that is not suspended; None if all are."""
        return next((name for name in self.sources if not suspended(name)), None)


def sources_of(document: ShapingDocument) -> Sequence[str]:
    """All sources of a file; without any, the default one."""
    return list(document.source) or [DEFAULT_SOURCE]


def pool_of(document: ShapingDocument, purpose: str) -> Sequence[str]:
    """The sources of a purpose, in the order of the file: without pools all, and without sources the default one."""
    if not document.pool:
        return sources_of(document)
    named = next((pool for pool in document.pool.values() if purpose in pool.purposes), None)
    rest = next((pool for pool in document.pool.values() if not pool.purposes), None)
    pool = named or rest
    return pool.sources if pool is not None else []


def choose(
    document: ShapingDocument, purpose: str, mail_id: str, last_source: str | None, *, blocked: bool = False
) -> SourceChoice:
    """The order of sources for a mail. A deferral keeps the source of the last attempt, if its pool still has it.

    A block (`blocked`) makes that source the last choice.
    """
    sources = pool_of(document, purpose)
    if len(sources) == 1:
        return SourceChoice(tuple(sources))
    ordered = sorted(sources, key=lambda name: _rank(mail_id, name, _weight(document, name)))
    if last_source in sources:
        ordered.remove(str(last_source))
        ordered.insert(len(ordered) if blocked else 0, str(last_source))
    return SourceChoice(tuple(ordered))


def _weight(document: ShapingDocument, name: str) -> int:
    source = document.source.get(name)
    return source.weight if source is not None else 1


def _rank(mail_id: str, source: str, weight: int) -> float:
    """The smallest wins, as often as its weight says."""
    raw = blake2b(f"{mail_id}\0{source}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(raw) + 1) / (2**64 + 1)
    return -math.log(chance) / weight
