"""Assigns users to holdouts, canaries and variants by hashes of name and user, so that the answer never changes.

Each use adds its own word to the hash, so that the assignments are independent of each other.
"""

import hashlib
import math
from collections.abc import Mapping

import orjson

_RANGE = 2.0**64


def unit_interval(*parts: str) -> float:
    """A number in (0, 1) that depends only on the parts: the first 64 bits of their blake2b."""
    digest = hashlib.blake2b(orjson.dumps(parts), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / _RANGE


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
