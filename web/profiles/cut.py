"""What is published of a profile that is larger than readers take.

A store can keep more: refusals of consent are added to a profile that is full, and backends publish large ones. Readers
would take back every yes of a record that is too large, so it is published without its largest attributes.
"""

import orjson

from schemas.profile_records import LARGEST
from web.profiles.profile_state import ProfileState, published


def published_cut(user_id: str, state: ProfileState, most: int = LARGEST) -> tuple[bytes, int]:
    """The profile as it is published, and how many attributes were left out so that it has so many bytes at most.

    It has more if its consent alone does.
    """
    whole = published(user_id, state)
    if len(whole) <= most:
        return whole, 0
    left_out = _largest(state, len(whole) - most)
    attributes = {name: stamp for name, stamp in state.attributes.items() if name not in left_out}
    rest = ProfileState(state.values, attributes, state.consent, state.floor_us, state.consent_floor_us)
    return published(user_id, rest), len(left_out)


def _largest(state: ProfileState, size: int) -> set[str]:
    """The fewest attributes that have so many bytes together, or all."""
    sizes = {
        name: len(orjson.dumps({name: stamp.value})) - len("{}")
        for name, stamp in state.attributes.items()
        if stamp.value is not None
    }
    largest = set()
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if size <= 0:
            break
        largest.add(name)
        size -= sizes[name]
    return largest
