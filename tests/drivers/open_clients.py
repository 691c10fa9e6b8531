"""Kafka clients that a test left open: each goes on complaining on stderr when its broker is gone."""

import gc

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

Client = Consumer | Producer | AdminClient


def require_no_open_clients() -> None:
    """Fails with a list of this process's open clients, and what refers to them."""
    if _open_clients():
        gc.collect()
    described = [f"{_type_name(client)}, held by {_holders(client)}" for client in _open_clients()]
    assert not described, "Kafka clients left open:\n" + "\n".join(described)


def _open_clients() -> list[Client]:
    return [each for each in gc.get_objects() if isinstance(each, Client) and _is_open(each)]


def _is_open(client: Client) -> bool:
    try:
        if isinstance(client, Consumer):
            client.memberid()
        else:
            client.poll(0)
    except RuntimeError:  # it is closed
        return False
    return True


def _holders(client: Client) -> str:
    """The types that refer to a client, to find the place where it should be closed."""
    return ", ".join(sorted({_type_name(each) for each in gc.get_referrers(client)}))


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
