"""Assigns users to holdouts, canaries, variants and moments by hashes of name and user, so that no answer ever changes.

Each use adds its own word to the hash, so that the assignments are independent of each other.
"""

import hashlib
import math
from collections.abc import Mapping

import orjson

_BITS = 64


def _hash(*parts: str) -> int:
    """The first 64 bits of the parts' blake2b."""
    return int.from_bytes(hashlib.blake2b(orjson.dumps(parts), digest_size=_BITS // 8).digest(), "big")


def unit_interval(*parts: str) -> float:
    """A number in (0, 1) that depends only on the parts."""
    return (_hash(*parts) + 0.5) / 2.0**_BITS


def moment_within(ms: int, *parts: str) -> int:
    """A number of milliseconds from 0 to below `ms` that depends only on the parts."""
    return _hash(*parts) * ms >> _BITS


def in_holdout(name: str, user_id: str, percent: float) -> bool:
    """Whether the user is among the `percent` of users that the rule or policy `name` holds out."""
    return percent > 0 and unit_interval("holdout", name, user_id) * 100 < percent


def in_canary(trigger: str, user_id: str, percent: float) -> bool:
    """Whether the user is among the `percent` of users for whom a canary is live."""
    return percent > 0 and unit_interval("canary", trigger, user_id) * 100 < percent


def variant(salt: str, user_id: str, weights: Mapping[str, float]) -> str:
    """The user's variant by weighted rendezvous hashing: a changed weight moves users only into variants that grew.

    Each variant scores -w / ln(u), u hashed from salt, user and variant; the largest wins (Schindelhauer and
    Schomaker, Weighted Distributed Hash Tables, SPAA 2005, logarithmic method). Needs a positive weight.
    """

    def score(name: str) -> float:
        return -weights[name] / math.log(unit_interval("variant", salt, user_id, name))

    return max((name for name in sorted(weights) if weights[name] > 0), key=score)
