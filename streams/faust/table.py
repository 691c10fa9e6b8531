"""A Faust table on the runtime's state partitions."""

from collections.abc import Iterator
from typing import Any

import faust

from streams.runtime.checkpoint import TableChanges
from streams.runtime.state import Partition, Partitions


class Table(faust.Table[Any, Any]):
    """A Faust table on `Partitions`, declared with `app.Table(name, options={"codec": (serialize, deserialize)})`.

    Without a codec, values are bytes. Processors use `local`. An ordinary agent reads and writes the table as a
    mapping, in its event's partition.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.local: Partitions[Any] = Partitions(*(self.options or {}).get("codec", ()))

    def drop(self) -> None:
        """Drops every partition."""
        self.local.drop()

    def changes(self) -> list[TableChanges]:
        """The changelog records since the last checkpoint."""
        return self.local.collect(self.changelog)

    @property
    def changelog(self) -> str:
        """The changelog's topic."""
        return str(self.changelog_topic.get_topic_name())

    def _here(self) -> Partition[Any]:
        number = self.partition_for_key(None)
        if number is None:
            raise TypeError(f"table {self.name} has no partition here: declare it without use_partitioner")
        return self.local.partition(number)

    def __getitem__(self, key: bytes) -> Any:
        value = self._here().get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: Any) -> None:
        self._here().put(key, value)

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self._here().remove(key)

    def __contains__(self, key: object) -> bool:
        return key in self._here()

    def get(self, key: bytes, default: Any = None) -> Any:
        """The value of `key` in the current event's partition."""
        value = self._here().get(key)
        return default if value is None else value

    def __iter__(self) -> Iterator[bytes]:
        """The keys of all loaded partitions."""
        return (key for number in self.local for key in self.local.partition(number))

    def __len__(self) -> int:
        return sum(len(self.local.partition(number)) for number in self.local)
