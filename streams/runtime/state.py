"""State by partition: bytes at rest, and objects only for the keys used since the last checkpoint.

A changed key is serialised once a checkpoint, however often it changed, and written only if its bytes differ from those
at rest. Dropped state is read again from the changelog; nothing here is ever rolled back.

Bytes at rest are compact, and the garbage collector does not visit them: a million users cost only their bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from streams.runtime.checkpoint import TableChanges

V = TypeVar("V")
Serialize = Callable[[bytes, V], bytes]
Deserialize = Callable[[bytes, bytes], V]
"""Both receive the key and what they convert."""


class Partition(Generic[V]):
    """One partition of a table. A value is never None.

    Belongs to one assignment: after a loss there is a new object, and references to this one must be dropped.
    """

    __slots__ = ("_changed", "_deserialize", "_read", "_serialize", "raw", "removed", "written")

    def __init__(
        self, serialize: Serialize[V] | None, deserialize: Deserialize[V] | None, raw: dict[bytes, bytes]
    ) -> None:
        self._serialize = serialize
        self._deserialize = deserialize
        self._changed: dict[bytes, V | None] = {}
        """The values that were set since the last checkpoint; None if the key is removed."""
        self._read: dict[bytes, V] = {}
        """The objects that were read since then."""
        self.raw: Mapping[bytes, bytes] = raw
        """The bytes at rest, without changes since the last checkpoint."""
        self.written = 0
        """The number of changelog records of this partition so far."""
        self.removed = 0
        """How many of them were tombstones."""

    def get(self, key: bytes) -> V | None:
        """The value of `key`: one object until the next checkpoint. It may be changed in place if `put` follows."""
        value = self._changed.get(key)
        if value is not None or key in self._changed:
            return value
        if self._deserialize is None:
            return self.raw.get(key)  # type: ignore[return-value]  # without a codec, values are bytes
        value = self._read.get(key)
        if value is None and (raw := self.raw.get(key)) is not None:
            value = self._read[key] = self._deserialize(key, raw)
        return value

    def put(self, key: bytes, value: V) -> None:
        """Sets `key`. The next checkpoint writes it."""
        self._changed[key] = value

    def remove(self, key: bytes) -> None:
        """Removes `key`. The next checkpoint writes a tombstone if it was at rest."""
        self._changed[key] = None

    def __contains__(self, key: object) -> bool:
        return key in self.raw if key not in self._changed else self._changed[key] is not None

    def __iter__(self) -> Iterator[bytes]:
        yield from (key for key in self.raw if key in self)
        yield from (key for key, value in self._changed.items() if value is not None and key not in self.raw)

    def __len__(self) -> int:
        changed = sum((value is not None) - (key in self.raw) for key, value in self._changed.items())
        return len(self.raw) + changed

    def collect(self) -> list[tuple[bytes, bytes | None]]:
        """Puts changed keys to rest, drops all objects, and returns the changelog records.

        If a value cannot be serialised, nothing changes.
        """
        rest: dict[bytes, bytes] = self.raw  # type: ignore[assignment]  # others see a Mapping
        at_rest = rest.get
        changes = [change for change in self._serialized() if change[1] != at_rest(change[0])]
        for key, raw in changes:
            if raw is None:
                del rest[key]
                self.removed += 1
            else:
                rest[key] = raw
        self._changed = {}
        self._read = {}
        self.written += len(changes)
        return changes

    def _serialized(self) -> Iterable[tuple[bytes, bytes | None]]:
        """What was set, as bytes, in the order of the first change: in that of their allocation, which saves misses
        in the processor's cache."""
        changed, serialize = self._changed.items(), self._serialize
        if serialize is None:
            return changed  # type: ignore[return-value]  # without a codec, values are bytes
        return [(key, None if value is None else serialize(key, value)) for key, value in changed]


class Partitions(Generic[V]):
    """The partitions of one table. Keys are bytes, and without a codec values too.

    A method with a partition number raises KeyError if that partition is not loaded.
    """

    def __init__(self, serialize: Serialize[V] | None = None, deserialize: Deserialize[V] | None = None) -> None:
        self._serialize = serialize
        self._deserialize = deserialize
        self._partitions: dict[int, Partition[V]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._partitions

    def __iter__(self) -> Iterator[int]:
        return iter(self._partitions)

    def partition(self, number: int) -> Partition[V]:
        """One partition, for callers that use it repeatedly: it saves a look-up a call."""
        return self._partitions[number]

    def raw(self, number: int) -> Mapping[bytes, bytes]:
        """The partition's bytes at rest, without changes since the last checkpoint."""
        return self._partitions[number].raw

    def get(self, number: int, key: bytes) -> V | None:
        """See Partition.get."""
        return self._partitions[number].get(key)

    def put(self, number: int, key: bytes, value: V) -> None:
        """See Partition.put."""
        self._partitions[number].put(key, value)

    def remove(self, number: int, key: bytes) -> None:
        """See Partition.remove."""
        self._partitions[number].remove(key)

    def drop(self) -> None:
        """Drops every partition."""
        self._partitions.clear()

    def load(self, number: int, entries: dict[bytes, bytes]) -> None:
        """Loads a partition. The table owns `entries` from now on."""
        self._partitions[number] = Partition(self._serialize, self._deserialize, entries)

    def collect(self, topic: str) -> list[TableChanges]:
        """Puts all changes since the last call to rest, and returns them for the changelog `topic`."""
        collected = [(number, partition.collect()) for number, partition in self._partitions.items()]
        return [TableChanges(topic, number, records) for number, records in collected if records]
