"""Raises any exception at any call of `senders` that handles a marked record or mail, in a delivery process.

An import hook rewrites each call inside of a function, `f(x)`, to `_call(site, f, locals())(x)`. So the call sites are
those that the code has, and the first run of a process says which of them have a marked item in scope. An item is
marked by the number in its user's and its command's id.

    python tests/drivers/injection.py PLAN

runs delivery with the settings of the environment, and faults as the file PLAN says.
"""

import ast
import asyncio
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
from confluent_kafka import KafkaError, KafkaException, Message
from pydantic import BaseModel

MACHINERY = frozenset({"app", "settings"})
"""Modules of `senders` that no item passes through, or that deal with its failure."""
READER = "infra.kafka.batch_reader"
"""Reads records for `senders`, and deals with those that it cannot keep."""
GUARDS = frozenset(
    {
        "batch_reader._one_batch",
        "batch_reader._store",
        "batch_reader._decoded",
        "batch_reader._commit",
        "batch_reader._sound",
        "scheduler._take",
        "scheduler._dispatch",
        "lane_driver._decide",
        "lane_driver._mail",
        "lane_driver.taken",
        "lane_driver._free",
        "lane_decider._take_off",
        "lane_queue._drop_removed",
        "mail_sender.failed",
        "answers.record",
        "ready_queue.done",
        "worker._release",
        "ledger.queue_class",
        "due_order.read",
        "writer._store",
        "writer._made",
        "writer.write_once",
        "writer.command_id",
        "writer.written_kind",
        "writer._finish",
        "outbox_relay._produce",
        "outbox_relay.publish_batch",
        "outbox_relay._publish",
        "outbox_relay.delivered",
        "outbox_relay._mark_published",
        "ledger.due_commands",
        "outbox.unpublished_rows",
    }
)
"""The loops and guards that handle what all other functions raise, the queries for the items, and what takes items off
lanes. An error that they raise themselves is a defect, which ends the process."""
DEEPEST = 6
MARK = re.compile(r"poison-(\d+)-|dead(\d{28})")
MARK_BYTES = re.compile(MARK.pattern.encode())

OURS: dict[str, Callable[[], Exception]] = {
    "ValueError": lambda: ValueError("poison"),
    "TypeError": lambda: TypeError("poison"),
    "KeyError": lambda: KeyError("poison"),
    "IndexError": lambda: IndexError("poison"),
    "AttributeError": lambda: AttributeError("poison"),
    "AssertionError": lambda: AssertionError("poison"),
    "RecursionError": lambda: RecursionError("poison"),
    "MemoryError": MemoryError,
    "OverflowError": lambda: OverflowError("poison"),
    "OSError": lambda: OSError(5, "poison"),
    "ConnectionResetError": lambda: ConnectionResetError("poison"),
    "TimeoutError": asyncio.TimeoutError,
    "UnicodeEncodeError": lambda: UnicodeEncodeError("utf-8", "\udc80", 0, 1, "poison"),
    "RuntimeError": lambda: RuntimeError("poison"),
}
OF_POSTGRES: dict[str, Callable[[], Exception]] = {
    name: getattr(psycopg.errors, name)
    for name in (
        "DataError",
        "IntegrityError",
        "ProgrammingError",
        "NotSupportedError",
        "InternalError",
        "UntranslatableCharacter",
        "UndefinedColumn",
        "UndefinedFunction",
        "InsufficientPrivilege",
        "ProgramLimitExceeded",
        "QueryCanceled",
    )
}
OF_A_SERVER: dict[str, Callable[[], Exception]] = {
    "OperationalError": lambda: psycopg.OperationalError("the connection is lost"),
    "InterfaceError": lambda: psycopg.InterfaceError("the connection is closed"),
    **{
        name: getattr(psycopg.errors, name)
        for name in (
            "AdminShutdown",
            "CannotConnectNow",
            "TooManyConnections",
            "DiskFull",
            "ReadOnlySqlTransaction",
            "SerializationFailure",
            "DeadlockDetected",
            "LockNotAvailable",
        )
    },
    "BufferError": lambda: BufferError("the producer's queue is full"),
    "KafkaException": lambda: KafkaException(KafkaError(KafkaError._TRANSPORT)),
}
"""Raised once for an item: a server that is back."""
EXCEPTIONS = OURS | OF_POSTGRES | OF_A_SERVER


def user_of(number: int) -> str:
    """The user by whose id the fault `number` is known."""
    return f"poison-{number}-"


def command_of(number: int) -> str:
    """The command's id."""
    return f"dead{number:028d}"


def marks(text: str | bytes) -> Iterator[int]:
    """The numbers in a text."""
    pattern: re.Pattern[Any] = MARK if isinstance(text, str) else MARK_BYTES
    for found in pattern.finditer(text):
        yield int(found[1] or found[2])


def marks_in(value: object, depth: int = 0) -> Iterator[int]:
    """The numbers of the items that a value holds."""
    if isinstance(value, str | bytes):
        yield from marks(value)
    elif isinstance(value, Message):
        yield from marks(value.key() or b"")
    elif depth < DEEPEST:
        for part in _parts(value):
            yield from marks_in(part, depth + 1)


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, BaseModel):
        return [getattr(value, name, None) for name in ("id", "user_id", "command_id")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return ()


class Faults:
    """What is raised where: by number, the site and the exception's name, both empty for an item that is only watched.

    Items of other numbers are those of earlier runs, which the topics still hold.
    """

    def __init__(self, plan: Path) -> None:
        self._plan: dict[int, tuple[str, str]] = {int(n): tuple(f) for n, f in json.loads(plan.read_text()).items()}
        self._sites = {site for site, _ in self._plan.values() if site}
        self._raised: set[int] = set()
        self._seen: set[str] = set()
        self._report = plan.with_suffix(".report").open("a", buffering=1)

    def call(self, site: str, function: Any, scope: dict[str, object]) -> Any:
        """The function, unless a marked item in the scope has its fault here."""
        if site not in self._sites if self._sites else site in self._seen:
            return function
        for number in {number for value in list(scope.values()) for number in marks_in(value)} & self._plan.keys():
            if site not in self._seen:
                self._seen.add(site)
                self._report.write(f"seen {site}\n")
            self._raise(number, site)
        return function

    def _raise(self, number: int, site: str) -> None:
        where, name = self._plan[number]
        if where != site or (name in OF_A_SERVER and number in self._raised):
            return
        self._report.write(f"{'again' if number in self._raised else 'raised'} {number}\n")
        self._raised.add(number)
        raise EXCEPTIONS[name]()


class _Rewriter(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self._module = module
        self._functions: list[str] = []

    def _function(self, node: Any) -> Any:
        self._functions.append(node.name)
        node.body = [self.visit(statement) for statement in node.body]
        self._functions.pop()
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815  # ast's names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not self._functions or f"{self._module}.{self._functions[-1]}" in GUARDS:
            return node
        site = f"{self._module}.{self._functions[-1]}:{node.lineno}:{node.col_offset} {_name(node.func)}"
        scope = ast.Call(ast.Name("locals", ast.Load()), [], [])
        node.func = ast.Call(ast.Name("_call", ast.Load()), [ast.Constant(site), node.func, scope], [])
        return node


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Call):
        return _name(function.args[1]) + "()" if len(function.args) > 1 else "()"
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "?")


class _Finder(MetaPathFinder, Loader):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.rpartition(".")
        if not (package.startswith("senders") or name == READER) or module in MACHINERY:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.submodule_search_locations is None:  # a package has its files, and no code
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        assert module.__spec__.origin is not None
        tree = ast.parse(Path(module.__spec__.origin).read_text())
        tree = ast.fix_missing_locations(_Rewriter(module.__name__.rpartition(".")[2]).visit(tree))
        module.__dict__["_call"] = self._faults.call
        exec(compile(tree, module.__spec__.origin, "exec"), module.__dict__)  # noqa: S102  # our own source


def main(plan: Path) -> None:
    """Delivery, with the faults of the plan."""
    sys.meta_path.insert(0, _Finder(Faults(plan)))
    from infra.kafka import batch_reader
    from senders.app import main as run
    from senders.queue import outbox_relay
    from senders.settings import SenderSettings

    batch_reader.BATCH = outbox_relay.BATCH = 25  # each call looks through what is in scope
    run(SenderSettings())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
