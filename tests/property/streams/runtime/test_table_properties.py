"""Properties of a table's partitions: a dictionary, whatever is at rest and whatever is an object."""

from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.runtime.state import Partitions

KEYS = st.sampled_from([b"ann", b"bob", b"cy", b"dee"])
NUMBERS = st.sampled_from([0, 1])
VALUES = st.lists(st.integers(0, 3), max_size=2)


class TableMachine(RuleBasedStateMachine):
    """Any sequence of uses, beside plain dictionaries of what is there and of what its changelog says."""

    def new_table(self) -> Partitions[Any]:
        return Partitions(lambda _, value: orjson.dumps(value), lambda _, raw: orjson.loads(raw))

    def changed(self, value: Any, item: int) -> Any:
        """The same object with another item."""
        value.append(item)
        return value

    def kept(self, value: list[int]) -> Any:
        """The value as the table takes it."""
        return value

    def read(self, kept: Any) -> list[int]:
        return list(kept)

    def __init__(self) -> None:
        super().__init__()
        self.table = self.new_table()
        self.model: dict[int, dict[bytes, list[int]]] = {0: {}, 1: {}}
        self.changelog: dict[int, dict[bytes, bytes]] = {0: {}, 1: {}}
        for number in self.model:
            self.table.load(number, {})

    @rule(number=NUMBERS, key=KEYS, value=VALUES)
    def put(self, number: int, key: bytes, value: list[int]) -> None:
        self.table.put(number, key, self.kept(list(value)))
        self.model[number][key] = value

    @rule(number=NUMBERS, key=KEYS, item=st.integers(0, 3))
    def change_in_place(self, number: int, key: bytes, item: int) -> None:
        value = self.table.get(number, key)
        if value is not None:
            self.table.put(number, key, self.changed(value, item))
            self.model[number][key] = [*self.model[number][key], item]

    @rule(number=NUMBERS, key=KEYS)
    def remove(self, number: int, key: bytes) -> None:
        self.table.remove(number, key)
        self.model[number].pop(key, None)

    @rule(number=NUMBERS, key=KEYS)
    def get_one_object(self, number: int, key: bytes) -> None:
        assert self.table.get(number, key) is self.table.get(number, key)

    @rule()
    def collect(self) -> None:
        collected = self.table.collect("changelog")
        assert {topic for topic, _, _ in collected} <= {"changelog"}
        for number, key, value in [(number, *record) for _, number, records in collected for record in records]:
            assert self.changelog[number].get(key) != value, "written, and nothing had changed"
            if value is None:
                del self.changelog[number][key]
            else:
                self.changelog[number][key] = value
        assert self.changelog == {n: {k: orjson.dumps(v) for k, v in of.items()} for n, of in self.model.items()}
        assert self.changelog == {number: dict(self.table.raw(number)) for number in self.model}
        assert self.table.collect("changelog") == []

    @rule()
    def lose_and_load(self) -> None:
        self.table.drop()
        assert list(self.table) == []
        for number, entries in self.changelog.items():
            self.table.load(number, dict(entries))
        self.model = {n: {k: orjson.loads(raw) for k, raw in of.items()} for n, of in self.changelog.items()}

    @invariant()
    def agrees(self) -> None:
        for number, model in self.model.items():
            partition = self.table.partition(number)
            assert set(partition) == set(model)
            assert len(partition) == len(model)
            for key in (b"ann", b"bob", b"cy", b"dee"):
                assert (key in partition) == (key in model)
                value = self.table.get(number, key)
                assert (None if value is None else self.read(value)) == model.get(key)


class UnreadTableMachine(TableMachine):
    """The same without reading between, for a get leaves an object behind."""

    @invariant()
    def agrees(self) -> None:
        for number, model in self.model.items():
            assert sorted(self.table.partition(number)) == sorted(model)


class BytesTableMachine(TableMachine):
    """The same without a codec: the values are the bytes."""

    def new_table(self) -> Partitions[Any]:
        return Partitions()

    def kept(self, value: list[int]) -> Any:
        return orjson.dumps(value)

    def read(self, kept: Any) -> list[int]:
        found: list[int] = orjson.loads(kept)
        return found

    def changed(self, value: Any, item: int) -> Any:
        return self.kept([*self.read(value), item])


TestTable: Any = TableMachine.TestCase
TestUnreadTable: Any = UnreadTableMachine.TestCase
TestBytesTable: Any = BytesTableMachine.TestCase
for each in (TestTable, TestUnreadTable, TestBytesTable):
    each.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
