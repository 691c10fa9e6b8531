"""The ports that tests fix: what may run at one time in several processes has ports of its own."""

from collections.abc import Iterator

from chaos import run as chaos
from chaos_senders import run as chaos_senders
from drivers import own_broker, own_postgres
from drivers.real_servers import MOST_PROCESSES, PORTS_APART

from infra.local.ports import HIGHEST_BASE, Ports

LOCAL_SERVERS = (960, 970, 980)
"""`tests/integration/infra/local/test_servers.py`."""
ROOM = 1_000
"""How far apart the port bases of two checkouts are."""


def of_process(number: int) -> Iterator[tuple[str, int]]:
    """The ports of a process of pytest: of its servers, of the pages of two workers of each kind, of servers of a
    test's own."""
    own = Ports(0).for_tests().base + number * PORTS_APART
    ports = Ports(own)
    for name in ("kafka", "controller", "postgres"):
        yield name, getattr(ports, name)
    for name in ("web", "senders_web", "bounces_web", "http_web", "profiles_web"):
        for slot in (0, 1):
            yield f"{name} {slot}", getattr(ports, name) + slot
    broker, postgres = Ports(own + own_broker.DISTANCE), Ports(own + own_postgres.DISTANCE)
    yield "own broker", broker.kafka
    yield "controller of the own broker", broker.controller
    yield "own postgres", postgres.postgres
    yield "its standby", Ports(postgres.base + 1).postgres


def of_programs() -> Iterator[tuple[str, int]]:
    """The ports of what runs once, in whichever process."""
    for offset in LOCAL_SERVERS:
        for name in ("kafka", "controller", "postgres"):
            yield f"local servers {name}", getattr(Ports(offset), name)
    ports = Ports(chaos.PORT_OFFSET)
    yield from (("chaos kafka", ports.kafka), ("chaos controller", ports.controller))
    yield from ((f"chaos worker {slot}", ports.web + slot) for slot in range(chaos.MAX_WORKERS))
    ports = Ports(chaos_senders.PORT_OFFSET)
    for name in ("kafka", "controller", "postgres", "smtp", "http"):
        yield f"chaos-senders {name}", getattr(ports, name)
    yield from ((f"chaos-senders worker {slot}", ports.senders_web + slot) for slot in range(4))


def test_no_port_is_used_twice() -> None:
    places = {f"process {number}": of_process(number) for number in range(MOST_PROCESSES)}
    used: dict[int, str] = {}
    for place, taken in {"programs": of_programs(), **places}.items():
        for name, port in taken:
            assert port not in used, f"{port} is that of {used[port]}, and of {place}: {name}"
            used[port] = f"{place}: {name}"
    assert max(used) < ROOM
    assert HIGHEST_BASE + max(used) < 2**16
