"""`ebbtide run streams --workers N`: started again, restarted in turn, stopped, killed, and seen from outside."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_streams import Streams
from drivers.supervised_workers import is_gone
from drivers.whole_pipeline import PARTITIONS
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from infra.kafka.topic_setup import ensure_topics
from infra.service.metrics import reference
from schemas.topics import OUTCOMES
from streams.monitoring.metrics import DEFINITIONS

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def streams(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    """Topics of its own; `two_workers` has two run on them, ready and with a rule."""
    with Streams(servers.kafka, servers.ports.web, tmp_path_factory.mktemp("streams")) as made:
        yield made


@pytest.fixture
def two_workers(streams: Streams) -> dict[int, int]:
    if not streams.runs:
        streams.apply_rules()
    return streams.two_ready()


def test_a_worker_is_not_ready_before_there_are_rules_and_says_so(streams: Streams) -> None:
    assert not streams.runs, "this is the first test here"
    streams.start("--workers", "2")

    def waits() -> bool:
        page = streams.ready(0)
        return page is not None and "waits for" in str(page["reason"])

    wait_until(waits, f"worker 0 waits for rules\n{streams.tail()}")
    page = streams.ready(0)
    assert page is not None
    assert (page["status"], page["ready"], page["state"]) == (503, False, "recovering")
    assert page["reason"] == "waits for a first version: rules, which `ebbtide apply` publishes"
    assert streams.get(0, "/health")[0] == 200
    streams.apply_rules()
    streams.wait_ready(0, 1)


@pytest.mark.usefixtures("two_workers")
def test_the_pages_and_the_status_show_what_the_workers_do(streams: Streams) -> None:
    streams.publish(400)
    streams.wait_drained()
    assert (streams.get(0, "/table/") or (0, ""))[0] == 404  # Faust's own pages would show users' state
    documented = {row.split("`")[1] for row in reference(DEFINITIONS).splitlines()[2:]}
    assert {name for slot in (0, 1) for name in scrape(streams, slot)[0]} == documented

    def measured() -> Counter[str | tuple[str, ...]] | None:
        """Every two seconds: the last time may have been before all events were applied."""
        found = totals(streams)
        gauges = tuple(found[name] for name in ("ready", "users", "lag_records", "timers"))
        return found if gauges == (2, 100, 0, 0) else None

    found = wait_until(measured, "the gauges are measured")
    assert found is not None
    assert found["records_applied_total", "events"] == streams.published
    assert found["records_written_total", "commands"] == streams.published
    assert found["decisions_total", "", "send"] == streams.published

    done = streams.cli("streams", "status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [(w["slot"], w["state"], w["restarts"]) for w in status["workers"]] == [(0, "ready", 0), (1, "ready", 0)]
    owners = {partition["partition"]: partition["worker"] for partition in status["partitions"]}
    assert len(owners) == 8
    assert set(owners.values()) == {0, 1}
    assert sum(partition["entries"] for partition in status["partitions"]) == 100
    assert all(p["lag"] == 0 and p["state_bytes"] >= 0 for p in status["partitions"])
    shown = streams.cli("streams", "status").stdout
    assert "partition  worker  lag  records/s" in shown


def scrape(streams: Streams, slot: int) -> tuple[set[str], list[Sample]]:
    """The names and the samples of one worker's metrics."""
    families = list(text_string_to_metric_families(streams.get(slot, "/metrics")[1]))
    names = {family.name + "_total" * (family.type == "counter") for family in families}
    return names, [sample for family in families for sample in family.samples]


def totals(streams: Streams) -> Counter[str | tuple[str, ...]]:
    """Over both workers: gauges by name, summed over partitions, and counters by name and labels."""
    found: Counter[str | tuple[str, ...]] = Counter()
    for sample in (sample for slot in (0, 1) for sample in scrape(streams, slot)[1]):
        name, labels = sample.name.removeprefix("ebbtide_streams_"), sorted(sample.labels.values())
        found[(name, *labels) if name.endswith("_total") else name] += sample.value
    return found


def test_a_killed_worker_is_started_again_and_nothing_is_lost_or_doubled(
    streams: Streams, two_workers: dict[int, int]
) -> None:
    feed = streams.publishing(3_000, per_s=1_000)
    wait_until(lambda: streams.lag() < streams.published + 3_000, "events flow")
    os.kill(two_workers[1], signal.SIGKILL)
    wait_until(lambda: streams.wait_ready(1)[1] != two_workers[1], "worker 1 is ready again")
    feed.join()
    streams.wait_drained()
    assert streams.decided() == streams.each_once()
    assert streams.wait_ready(0)[0] == two_workers[0], "the other worker goes on"
    ended = [line for line in streams.lines() if line["event"] == "worker_ended"][-1]
    assert (ended["slot"], ended["why"]) == (1, "it was killed by SIGKILL")
    assert ended["again_in_s"] <= 1.0


def test_a_rolling_restart_while_events_flow_takes_the_workers_in_turn(
    streams: Streams, two_workers: dict[int, int]
) -> None:
    held = {slot: streams.ready(slot)["partitions"] for slot in (0, 1)}
    over = threading.Event()
    feed = streams.publishing(20_000, per_s=300, over=over)
    with ThreadPoolExecutor(1) as pool:
        rolled = pool.submit(streams.program, "streams", "restart")
        longest_s = watch_readiness(streams, rolled)
    done = rolled.result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["worker 0 restarts", "worker 1 restarts", "all are ready again"]
    assert all(0 < away_s < 20 for away_s in longest_s.values()), longest_s
    after = streams.wait_ready(0, 1)
    assert not set(two_workers.values()) & set(after.values())
    assert {slot: streams.ready(slot)["partitions"] for slot in (0, 1)} == held, "static membership keeps them in place"
    assert totals(streams)["rebalances_total",] == 2, "each had one of its own, when it was assigned them"
    over.set()
    feed.join()
    streams.wait_drained()
    assert streams.decided() == streams.each_once()


def watch_readiness(streams: Streams, rolled: Future[object]) -> dict[int, float]:
    """The longest that each worker was not ready, until `rolled`; fails where both are not at once."""
    began_s: dict[int, float] = {}
    longest_s = {0: 0.0, 1: 0.0}
    while not rolled.done():
        for slot in (1, 0):  # against their turn: what is seen of the later one is not newer
            page, now_s = streams.ready(slot), time.monotonic()
            if page is not None and page["ready"]:
                began_s.pop(slot, None)
            else:
                longest_s[slot] = max(longest_s[slot], now_s - began_s.setdefault(slot, now_s))
        assert len(began_s) < 2, streams.tail()
        time.sleep(0.05)
    return longest_s


@pytest.mark.usefixtures("two_workers")
def test_ctrl_c_stops_all_within_five_seconds_and_loses_nothing_that_is_in_flight(streams: Streams) -> None:
    before = totals(streams)["records_applied_total", "events"]
    over = threading.Event()
    feed = streams.publishing(200_000, per_s=2_000, over=over)
    wait_until(lambda: totals(streams)["records_applied_total", "events"] > before, "the work has begun")
    status, took_s = streams.stop(signal.SIGINT)  # in the middle of its work: it goes on coming
    over.set()
    feed.join()
    assert status == 0, streams.tail()
    assert took_s < 5.0
    assert streams.lag() > 0
    commands, decisions = streams.decided()
    assert commands == decisions, "half of a checkpoint is visible"
    assert set(commands) == {1}

    shown = streams.cli("streams", "status")
    assert shown.returncode == 1
    assert "no stream worker runs: `ebbtide run streams` starts one" in shown.stdout

    streams.start("--workers", "2")
    streams.wait_ready(0, 1)
    streams.wait_drained()
    assert streams.decided() == streams.each_once()


@pytest.mark.usefixtures("two_workers")
def test_a_second_supervisor_of_the_instance_is_refused_in_one_line(streams: Streams) -> None:
    refused(streams, "already have a supervisor (pid ")


def test_a_supervisor_that_is_killed_leaves_no_worker(streams: Streams, two_workers: dict[int, int]) -> None:
    streams.stop(signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, two_workers.values())), "both workers are gone")
    assert json.loads(streams.cli("streams", "status", "--json").stdout)["supervisor"] is None
    refused(streams, "no supervisor of stream workers runs", "streams", "restart")


def test_a_missing_prerequisite_is_reported_in_one_line(streams: Streams, tmp_path: Path) -> None:
    elsewhere = {"EBBTIDE_DATA_DIR": str(tmp_path), "EBBTIDE_WEB_PORT": str(free_port())}
    refused(streams, "Kafka does not answer", **elsewhere | {"EBBTIDE_KAFKA": f"127.0.0.1:{free_port()}"})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        why = f"port {port} for the pages of stream worker 0 is in use by"
        refused(streams, why, **elsewhere | {"EBBTIDE_WEB_PORT": port})
    admin = AdminClient({"bootstrap.servers": streams.kafka})  # dropped, its futures would not resolve
    admin.delete_topics([OUTCOMES.name])[OUTCOMES.name].result(30)
    try:
        refused(streams, "no topic outcomes; run `ebbtide topics` first", **elsewhere)
    finally:
        wait_until(lambda: ensure_topics(streams.kafka, PARTITIONS, topics=[OUTCOMES]), "the topic is there again")


def refused(streams: Streams, why: str, *arguments: str, **variables: str) -> None:
    """The command ends with 2 and one plain line."""
    done = streams.program(*(arguments or ("run", "streams")), **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ebbtide: ")
    assert why in lines[0]
