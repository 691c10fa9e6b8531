"""Which keys belong in a partition: the shared partitioner asked once for each, for it is slow in Python."""

from collections.abc import Container

from schemas.codec import partition_for

REMEMBERED = 20_000
"""Keys of one partition that are remembered, about 3 MB; then they are forgotten and asked again."""


class PartitionKeys:
    """The keys of one partition, of `partitions`. Those in `held`, its table, were found at home before."""

    def __init__(self, partition: int, partitions: int, held: Container[object]) -> None:
        self._partition = partition
        self._partitions = partitions
        self._held = held
        self._others: dict[bytes | None, str] = {}

    def is_at_home(self, key: bytes | None, user_id: str) -> bool:
        """Whether `key` is the user's and belongs in this partition."""
        if key in self._held:
            return key == user_id.encode()
        return self._others.get(key) == user_id or self._ask(key, user_id)

    def home_of(self, key: bytes) -> int:
        """The partition in which the shared partitioner puts `key`."""
        return partition_for(key, self._partitions)

    def _ask(self, key: bytes | None, user_id: str) -> bool:
        if key is None or key != user_id.encode() or self.home_of(key) != self._partition:
            return False
        if len(self._others) >= REMEMBERED:
            self._others.clear()
        self._others[key] = user_id
        return True
