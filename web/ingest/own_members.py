"""The members of an event's context that only Ebbtide writes: a sender's are taken out."""

import re

from msgspec import Raw
from msgspec.json import Decoder, Encoder

from web.ingest.catalogue import TAGS
from web.ingest.items import UNREADABLE
from web.ingest.reading import Refused
from web.profiles.forwarding import FORWARDED_FROM

OWN_MEMBERS = frozenset({"original_name", "original_time", TAGS, FORWARDED_FROM})
_TAGS, _FORWARDED_FROM = TAGS.encode(), FORWARDED_FROM.encode()
_ESCAPED_LETTER = re.compile(rb"\\u00[5-7]")
"""Part of how JSON may write a letter or `_` of a name; no encoder does."""
_decode = Decoder(dict[str, Raw]).decode
_encode = Encoder().encode


def may_have_own_members(context: Raw) -> bool:
    """Whether one of their names may stand in the JSON: quick, and never wrongly no."""
    sent = bytes(context)
    return (b"_" in sent or b"\\" in sent) and (
        b"original_" in sent
        or _TAGS in sent
        or _FORWARDED_FROM in sent
        or (b"\\u00" in sent and _ESCAPED_LETTER.search(sent) is not None)
    )


def without_own_members(context: Raw) -> Raw:
    """The context as it was sent but for these members. Raises Refused if it is no object."""
    if not may_have_own_members(context):
        return context
    try:
        members = _decode(context)
    except UNREADABLE:
        raise Refused("context", "must be a JSON object") from None
    if OWN_MEMBERS.isdisjoint(members):
        return context
    return Raw(_encode({name: value for name, value in members.items() if name not in OWN_MEMBERS}))
