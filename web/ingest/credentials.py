"""Where a call carries its write key: the user name of Basic auth (RFC 7617), else `writeKey` in the body, else in the
query."""

import binascii
from collections.abc import Mapping
from urllib.parse import parse_qs

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

_LONGEST = 256
_FIELD = "writeKey"


class _Keyed(Struct, gc=False, rename="camel"):
    write_key: str | None = None


_decode = Decoder(_Keyed).decode


def written_key(headers: Mapping[str, str], query: str, body: bytes) -> str | None:
    """The secret of the write key that a call carries, and None if it carries none. Says nothing of its validity.

    `body` is inflated.
    """
    found = _of_basic(headers.get("authorization", "")) or _of_body(body) or _of_query(query)
    return found if found and len(found) <= _LONGEST else None


def _of_basic(header: str) -> str | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return binascii.a2b_base64(encoded.strip()).decode().partition(":")[0]
    except ValueError:  # of base64, of ASCII or of UTF-8
        return None


def _of_body(body: bytes) -> str | None:
    if b"writeKey" not in body:
        return None
    try:
        return _decode(body).write_key
    except (MsgspecError, ValueError, RecursionError):
        return None


def _of_query(query: str) -> str | None:
    try:
        return parse_qs(query, max_num_fields=20).get(_FIELD, [None])[0]
    except ValueError:  # too many fields
        return None
