"""What the runtime relies on in Faust 0.15.3 beside its documented interface. Run as a program: ends with 1, and says
which names are gone, if an upgrade has moved one. Not a test file: it is run with and without Faust's Cython parts.
"""

import asyncio
import inspect
import sys
from collections.abc import Callable

import faust
from faust.app.base import App
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer, Fetcher, TransactionManager
from faust.transport.producer import Producer
from faust.types.tuples import ConsumerMessage
from mode.services import ServiceTask
from mode.worker import Worker

from infra.kafka.connection import Connection
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings

METHODS: dict[type, dict[str, list[str]]] = {
    Consumer: {
        "force_commit": ["topics", "start_new_transaction"],
        "commit": ["topics", "start_new_transaction"],
        "_add_gap": ["tp", "offset_from", "offset_to"],
        "_getmany": ["active_partitions", "timeout"],
        "_to_message": ["tp", "record"],
        "_drain_messages": ["fetcher"],
        "perform_seek": [],
        "seek_to_committed": [],
        "highwater": ["tp"],
        "stop_flow": [],
        "resume_flow": [],
        "on_partitions_revoked": ["revoked"],
        "on_partitions_assigned": ["assigned", "generation_id"],
        "_new_topicpartition": ["topic", "partition"],
    },
    Producer: {"send_soon": ["fut"], "flush": [], "create_topic": ["topic", "partitions", "replication"]},
    TransactionManager: {
        "send": ["topic", "key", "value", "partition", "timestamp", "headers", "transactional_id"],
        "commit": ["offsets", "start_new_transaction"],
        "flush": [],
        "on_partitions_revoked": ["revoked"],
        "on_rebalance": ["assigned", "revoked", "newly_assigned"],
    },
    Recovery: {
        "on_rebalance": ["assigned", "revoked", "newly_assigned", "generation_id"],
        "_resume_streams": ["generation_id"],
        "flush_buffers": [],
    },
    TableManager: {"on_start": [], "_update_channels": [], "wait_until_tables_registered": []},
    App: {
        "on_rebalance_start": [],
        "on_rebalance_end": [],
        "on_stop": [],
        "maybe_start_producer": [],
        "_on_partitions_revoked": ["revoked"],
        "_on_partitions_assigned": ["assigned", "generation_id"],
    },
    Conductor: {"acks_enabled_for": ["topic"]},
    Worker: {"_sentinel_task": [], "execute_from_commandline": []},
    Stream: {"add_processor": ["processor"]},
    faust.Schema: {"compile": ["app"]},
    faust.Sensor: {"on_message_out": ["tp", "offset", "message"]},
}
TASKS: dict[type, tuple[str, ...]] = {
    Consumer: ("_commit_handler", "_commit_livelock_detector"),
    Recovery: ("_restart_recovery", "_slurp_changelogs", "_publish_stats"),
    Fetcher: ("_fetcher",),
}
ATTRIBUTES = {
    "consumer": ("_acked", "_acked_index", "_read_offset", "_committed_offset", "_unacked_messages", "transactions"),
    "tables": ("_tables_finalized", "_tables_registered", "_recovery", "recovery"),
    "flow_control": ("suspend", "resume", "is_active"),
    "": ("consumer_generation_id", "rebalancing", "in_recovery", "transport", "producer_transport", "sensors"),
}


async def gone() -> list[str]:
    """Everything that is not as it was."""
    found = [] if faust.__version__ == "0.15.3" else [f"faust is {faust.__version__}, not 0.15.3"]
    for owner, methods in METHODS.items():
        found += [
            f"{owner.__name__}.{name}{wanted}" for name, wanted in methods.items() if not _has(owner, name, wanted)
        ]
    for owner, tasks in TASKS.items():
        found += [f"{owner.__name__}.{name}: not a task" for name in tasks if not _is_task(owner, name)]
    fields = ["topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value", "checksum"]
    if not _has(ConsumerMessage, "__init__", [*fields, "serialized_key_size", "serialized_value_size", "tp"]):
        found.append("ConsumerMessage's fields")
    return found + _missing_attributes() + _stream_differences()


def _has(owner: type, name: str, wanted: list[str]) -> bool:
    method = inspect.getattr_static(owner, name, None)
    function: Callable[..., object] | None = getattr(method, "__wrapped__", method)
    if isinstance(method, property):
        return not wanted
    if function is None or not callable(function):
        return False
    return [n for n in inspect.signature(function).parameters if n != "self"][: len(wanted)] == wanted


def _is_task(owner: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(owner, name, None), ServiceTask)


def _missing_attributes() -> list[str]:
    app = _runtime().app
    missing = []
    for path, names in ATTRIBUTES.items():
        owner = getattr(app, path) if path else app
        missing += [f"{path or 'app'}.{name}" for name in names if not hasattr(owner, name)]
    if app.conf.processing_guarantee.value != "exactly_once":
        missing.append("conf.processing_guarantee")
    return missing


def _stream_differences() -> list[str]:
    """The order in which a stream does things, read from its source: Python's, which Cython's twin follows."""
    source = inspect.getsource(Stream._py_aiter)
    order = ["generation_id != self.app.consumer_generation_id", "message.tracked = True", "self.current_event = event"]
    order += ["for processor in processors", "yield value", "event.ack()", "on_message_out("]
    places = [source.find(text) for text in order]
    if -1 in places or places != sorted(places):
        return [f"Stream._py_aiter: {dict(zip(order, places, strict=True))}"]
    return []


def _runtime() -> Runtime:
    nowhere = Connection("127.0.0.1:1", {"log_level": "0"})
    settings = RuntimeSettings("contract", "0", nowhere, ("events",), 1)
    return Runtime(settings)


if __name__ == "__main__":
    problems = asyncio.run(gone())
    cython = "faust._cython.streams" in sys.modules
    sys.stdout.write("\n".join([f"cython {cython}", *problems]) + "\n")
    sys.exit(1 if problems else 0)
