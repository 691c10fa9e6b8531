"""State by partition: a plain dictionary for each, with the keys that changed since the last checkpoint.

A changed key is serialised once a checkpoint, however often it changed. What is dropped is read again from the
changelog; nothing here is ever rolled back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import faust

from streams.checkpoint import Output

V = TypeVar("V")


class Partitions(Generic[V]):
    """The partitions of one table. Keys are bytes; `serialize` and `deserialize` are told the key."""

    def __init__(self, serialize: Callable[[bytes, V], bytes], deserialize: Callable[[bytes, bytes], V]) -> None:
        self._serialize = serialize
        self._deserialize = deserialize
        self._data: dict[int, dict[bytes, V]] = {}
        self._dirty: dict[int, set[bytes]] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._data

    def __iter__(self) -> Iterator[int]:
        return iter(self._data)

    def data(self, partition: int) -> Mapping[bytes, V]:
        """The partition's entries. A value may be changed in place where `put` follows."""
        return self._data[partition]

    def get(self, partition: int, key: bytes) -> V | None:
        """The value of `key`; raises KeyError where the partition is not loaded."""
        return self._data[partition].get(key)

    def put(self, partition: int, key: bytes, value: V) -> None:
        """Sets `key`, and has it written at the next checkpoint."""
        self._data[partition][key] = value
        self._dirty[partition].add(key)

    def remove(self, partition: int, key: bytes) -> None:
        """Takes `key` out, and has a tombstone written at the next checkpoint."""
        if self._data[partition].pop(key, None) is not None:
            self._dirty[partition].add(key)

    def drop(self) -> None:
        """Forgets every partition."""
        self._data.clear()
        self._dirty.clear()

    def load(self, partition: int, entries: Mapping[bytes, bytes]) -> None:
        """Takes a partition from what its changelog holds."""
        self._data[partition] = {key: self._deserialize(key, raw) for key, raw in entries.items()}
        self._dirty[partition] = set()

    def collect(self, topic: str) -> list[Output]:
        """The changelog records of all keys that changed since the last time."""
        return [
            Output(topic, key, None if (value := data.get(key)) is None else self._serialize(key, value), partition)
            for partition, data in self._data.items()
            for key in self._take_dirty(partition)
        ]

    def _take_dirty(self, partition: int) -> Iterable[bytes]:
        dirty = self._dirty[partition]
        if dirty:
            self._dirty[partition] = set()
        return dirty


class Table(faust.Table[Any, Any]):
    """A Faust table on `Partitions`, declared with `app.Table(name, options={"codec": (serialize, deserialize)})`.

    Batch steps use `local`; an ordinary agent reads and writes it as a mapping, in its event's partition.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        serialize, deserialize = (self.options or {}).get("codec", (_same, _same))
        self.local: Partitions[Any] = Partitions(serialize, deserialize)

    def drop(self) -> None:
        """Forgets every partition."""
        self.local.drop()

    def changes(self) -> list[Output]:
        """The changelog records since the last checkpoint."""
        return self.local.collect(self.changelog)

    @property
    def changelog(self) -> str:
        """The changelog's topic."""
        return str(self.changelog_topic.get_topic_name())

    def _here(self) -> int:
        partition = self.partition_for_key(None)
        if partition is None:
            raise TypeError(f"table {self.name} has no partition here: declare it without use_partitioner")
        return partition

    def __getitem__(self, key: bytes) -> Any:
        return self.local.data(self._here())[key]

    def __setitem__(self, key: bytes, value: Any) -> None:
        self.local.put(self._here(), key, value)

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self.local.remove(self._here(), key)

    def __contains__(self, key: object) -> bool:
        return key in self.local.data(self._here())

    def get(self, key: bytes, default: Any = None) -> Any:
        """The value of `key` in the current event's partition."""
        return self.local.data(self._here()).get(key, default)

    def __iter__(self) -> Iterator[bytes]:
        """The keys of all partitions held here."""
        return (key for partition in self.local for key in self.local.data(partition))

    def __len__(self) -> int:
        return sum(len(self.local.data(partition)) for partition in self.local)


def _same(key: bytes, value: bytes) -> bytes:  # noqa: ARG001 - the codec of values that are bytes already
    return value
