"""Whatever is sent to the running server: never a 5xx but 503, never a defect in the log, and memory stays bounded."""

import gzip
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from drivers.hostile_requests import broken_bytes, requests
from drivers.raw_http import exchange, statuses
from drivers.web_edge import WebEdge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.servers

AT_ONCE = 20
TOGETHER_MB = 200
"""What a process may have, whatever it was sent: it begins with some 110 MB."""
TIMEOUT_S = 1.5
"""As conftest.py sets it."""
SLACK_S = 7.0
"""For a busy machine."""
slowly = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def key(edge: WebEdge) -> str:
    return edge.new_key("hostile")


def memory_mb(edge: WebEdge) -> float:
    [pid] = edge.workers.wait_ready(0).values()
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def require_unhurt(edge: WebEdge) -> None:
    """The same process serves, and has noted no defect."""
    assert edge.post("/v1/track", "none", {}).status == 401
    assert edge.defects() == []


def test_requests_with_anything_wrong_get_an_answer_that_blames_nobody_else(edge: WebEdge, key: str) -> None:
    pids = edge.workers.wait_ready(0)

    @slowly
    @given(st.lists(requests(key), min_size=AT_ONCE, max_size=AT_ONCE))
    def each_is_answered(sent: list[bytes]) -> None:
        for request, answer in zip(sent, exchange(edge.port, sent), strict=True):
            found = statuses(answer)
            assert found or not answer, answer[:100]
            assert all(status < 500 or status == 503 for status in found), (request[:300], answer[:300])

    each_is_answered()
    require_unhurt(edge)
    assert edge.workers.wait_ready(0) == pids
    assert memory_mb(edge) < TOGETHER_MB


def test_bytes_that_are_no_request_hurt_nobody(edge: WebEdge, key: str) -> None:
    pids = edge.workers.wait_ready(0)

    sent: list[bytes] = []

    @slowly
    @given(st.lists(broken_bytes(key), min_size=AT_ONCE, max_size=AT_ONCE))
    def draw(some: list[bytes]) -> None:
        sent.extend(some)

    draw()  # all are sent together: on most connections the server waits for more until its time limit
    for request, answer in zip(sent, exchange(edge.port, sent, TIMEOUT_S + SLACK_S), strict=True):
        assert all(status < 500 or status == 503 for status in statuses(answer)), (request[:300], answer[:300])
    require_unhurt(edge)
    assert edge.workers.wait_ready(0) == pids
    assert memory_mb(edge) < TOGETHER_MB


def test_fifty_bombs_at_once_stay_small(edge: WebEdge, key: str) -> None:
    bomb = gzip.compress(b'{"batch":[' + b" " * 200_000_000)
    head = (
        f"POST /v1/batch?writeKey={key} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(bomb)}\r\nConnection: close\r\n\r\n"
    )
    answers = exchange(edge.port, [head.encode() + bomb] * 50, 60)
    found = Counter(status for answer in answers for status in statuses(answer))
    assert found.keys() <= {408, 413, 429, 503}
    assert found[413] > 0, "each bomb that is inflated is found out"
    assert memory_mb(edge) < TOGETHER_MB
    require_unhurt(edge)


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/tr", b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_client_that_stops_half_way_is_cut_off(edge: WebEdge, sent: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", edge.port), 10 * TIMEOUT_S) as connection:
        connection.sendall(sent)
        while connection.recv(4096):
            pass
    assert time.monotonic() - began < TIMEOUT_S + SLACK_S


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(edge: WebEdge, key: str) -> None:
    head = f"POST /v1/track?writeKey={key} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), 0.3) as connection:
        connection.sendall(head.encode())
        assert ended_within(connection, TIMEOUT_S + SLACK_S)


def ended_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the server ends a connection on which a byte comes now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            connection.sendall(b" ")
            if not connection.recv(4096):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False
