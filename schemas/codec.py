"""JSON on the wire by orjson, checked by the topic's model; and the partitioner that every writer shares."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from schemas.vocabulary import DeadLetterCause

M = TypeVar("M", bound=BaseModel)

PARTITIONER = "murmur2_random"
"""librdkafka's name for Java's default partitioner. Its own default differs, and would break co-partitioning."""


class DecodeError(ValueError):
    """A record that its topic's model does not accept; `cause` says whether it was not even JSON."""

    def __init__(self, cause: DeadLetterCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


def encode(fact: BaseModel) -> bytes:
    """The fact as JSON bytes. Fields that are None are left out."""
    return orjson.dumps(fact.model_dump(mode="json", exclude_none=True))


def decode(model: type[M], raw: bytes | None) -> M:
    """The fact that `raw` carries; raises DecodeError with every wrong field named and no value repeated."""
    if raw is None:
        raise DecodeError(DeadLetterCause.NOT_JSON, "no value")
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError(DeadLetterCause.NOT_JSON, str(error)) from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, p['loc'])) or 'record'}: {p['msg']}" for p in error.errors(include_input=False)
        )
        raise DecodeError(DeadLetterCause.INVALID, "; ".join(problems)[:2048]) from None


def murmur2(data: bytes) -> int:
    """MurmurHash2 (Austin Appleby), 32 bit, as org.apache.kafka.common.utils.Utils.murmur2 computes it."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole != len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_for(key: bytes, partitions: int) -> int:
    """The partition in which Java's default partitioner puts `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
