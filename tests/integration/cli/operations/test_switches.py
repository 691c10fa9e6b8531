"""The numbers of switches and manifests under concurrent publishers, and the thread that brings them to a worker."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from drivers import command_line
from drivers.command_line import Done
from drivers.free_ports import free_port
from drivers.running_senders import have_topics, wait_until
from drivers.whole_pipeline import TEMPLATE, THANKS
from structlog.testing import capture_logs

from cli.manifests.publication import apply_folder, current_manifest
from cli.operations.control import publish_switch, switch, switches
from cli.operations.exclusive_writer import ExclusiveWriter, RecordToWrite, WriterFenced
from cli.rules.rule_folder import Folder
from infra.kafka.connection import Connection
from schemas.topics import CONTROL, EVENTS, RULES
from streams.decisions.rulefeed import PublishedRules, RuleFeed
from streams.runtime.checkpoint import OffsetMetadata
from triggers.language.diagnostics import SourceFile

pytestmark = pytest.mark.servers

FOLDER = Folder("test", [THANKS], {"thanks": TEMPLATE})


@pytest.fixture
def kafka(servers, monkeypatch, topic_prefix) -> str:
    """The topics are there, and no worker has applied anything."""
    monkeypatch.setenv("EBBTIDE_STREAMS_GROUP", f"{topic_prefix}streams")
    have_topics(servers.kafka)
    return servers.kafka


def test_concurrent_publishers_each_get_their_own_number(kafka):
    with ThreadPoolExecutor(6) as pool:
        resumed = [pool.submit(switch, kafka, "global", paused=False) for _ in range(3)]
        applied = [pool.submit(apply_folder, kafka, FOLDER) for _ in range(3)]
        numbers = sorted(done.result().number for done in resumed)
        manifests = sorted(done.result().number for done in applied)
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert manifests == list(range(manifests[0], manifests[0] + 3))
    assert current_manifest(kafka).number == manifests[-1]


def test_a_number_is_above_what_workers_applied_even_if_the_topic_was_lost(kafka, topic_prefix):
    group = Consumer({"bootstrap.servers": kafka, "group.id": f"{topic_prefix}streams"})
    mark = OffsetMetadata(0, 1, {"manifest": 5_000, "control": 7_000}).encode()
    wait_until(lambda: group.list_topics(EVENTS.name, 10).topics[EVENTS.name].partitions, "events is there")
    group.commit(offsets=[TopicPartition(EVENTS.name, 0, 0, metadata=mark)], asynchronous=False)
    group.close()
    assert switch(kafka, "global", paused=False).number > 7_000
    assert apply_folder(kafka, FOLDER).number > 5_000


def test_a_writer_who_is_overtaken_writes_nothing(kafka):
    with (
        ExclusiveWriter(kafka, "first-come") as first,
        ExclusiveWriter(kafka, "first-come"),
        pytest.raises(WriterFenced),
    ):
        first.write([RecordToWrite(CONTROL.name, b"global", b"{}")])


def test_each_concurrent_writer_writes_or_is_overtaken(kafka):
    def write(_: int) -> str:
        try:
            with ExclusiveWriter(kafka, "first-come") as writer:
                writer.write([RecordToWrite(RULES.name, b"text/none", None)])
        except WriterFenced:
            return "overtaken"
        except KafkaException as exception:  # the broker's own failure at such a rush, and no word of who was first
            if exception.args[0].code() != KafkaError.UNKNOWN:
                raise
            return "overtaken"
        return "written"

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(write, range(60))) - {"overtaken"} == {"written"}


def test_a_switch_is_listed_with_its_number_and_who_did_it(kafka):
    apply_folder(kafka, FOLDER)
    done = ebbtide(kafka, "pause", "trigger/thanks", "--by", "ada")
    number = next(each.number for each in switches(kafka) if each.scope == "trigger/thanks")
    assert done.stdout == (f"trigger/thanks is paused: number {number}, in effect on every running worker within 2 s\n")
    listed = ebbtide(kafka, "switches").stdout
    assert any("paused" in line and "trigger/thanks  by ada" in line for line in listed.splitlines())
    assert ebbtide(kafka, "resume", "trigger/thanks").stdout.startswith("trigger/thanks is resumed: number ")
    assert not next(each for each in switches(kafka) if each.scope == "trigger/thanks").paused
    assert ebbtide(kafka, "resume", "trigger/thanks").stdout.startswith("trigger/thanks was not paused; ")


def test_a_pause_whose_time_is_over_is_not_listed_as_a_pause(kafka, topic_prefix):
    scope = f"delivery/trigger/{topic_prefix}over"
    publish_switch(kafka, scope, paused=True, until=datetime.now(UTC) - timedelta(seconds=1))
    lines = ebbtide(kafka, "switches").stdout.splitlines()
    assert next(line for line in lines if scope in line).startswith("is over  ")
    others = sum(each.paused and each.in_force(datetime.now(UTC)) for each in switches(kafka))
    assert lines[-1] == (f"{others} paused" if others else "nothing is paused")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (
            "trigger/thansk",
            "ebbtide: no trigger 'thansk' in the current rules; did you mean trigger/thanks?\n",
        ),
        (
            "everything",
            "ebbtide: 'everything' is not a scope; "
            "write global, trigger/NAME, purpose/NAME, brand/NAME or endpoint/NAME\n",
        ),
    ],
)
def test_a_scope_that_names_nothing_is_refused_with_the_nearest_name(kafka, scope, expected):
    apply_folder(kafka, FOLDER)
    done = ebbtide(kafka, "pause", scope)
    assert (done.returncode, done.stderr) == (2, expected)


def test_a_brand_and_an_endpoint_of_the_rules_can_be_paused_and_resumed(kafka):
    brand, endpoint = "brand: harbour\nfrom: mail@harbour.example\n", "endpoint: crm\nurl: https://crm.example/hooks\n"
    rules = SourceFile("brands.yaml", f"{brand}---\n{endpoint}secrets: crm-signing\n")
    apply_folder(kafka, Folder("brands", [rules], {}))
    for scope in ("brand/harbour", "endpoint/crm"):
        for command, state in (("pause", "paused"), ("resume", "resumed")):
            done = ebbtide(kafka, command, scope)
            assert done.stdout.startswith(f"{scope} is {state}: "), done.stderr
    apply_folder(kafka, Folder("brands", [], {}))


def test_a_feed_that_cannot_go_on_says_so_to_the_process(kafka):
    apply_folder(kafka, FOLDER)
    ended: list[str] = []

    def broken(_: PublishedRules) -> None:
        raise ValueError("a defect")

    feed = RuleFeed(Connection(kafka), broken, ended.append)
    feed.start()
    assert wait_until(lambda: ended, "the feed has ended")[0].startswith("the rule feed ended (a defect)")
    feed.stop()


def test_a_feed_waits_for_a_broker_that_is_away():
    ended: list[str] = []
    with capture_logs() as log:
        feed = RuleFeed(Connection(f"127.0.0.1:{free_port()}"), lambda _: None, ended.append)
        feed.start()
        wait_until(lambda: any(line["event"] == "rule_feed_waits" for line in log), "it says what it waits for")
        assert feed.is_alive()
        feed.stop()
    assert not ended


def test_a_feed_whose_client_stops_fetching_replaces_it(kafka, monkeypatch):
    monkeypatch.setattr("streams.decisions.rulefeed.CHECK_INTERVAL_S", 0.5)
    apply_folder(kafka, FOLDER)
    opened = []

    class StallingRuleFeed(RuleFeed):
        def _open(self) -> Consumer:
            opened.append(super()._open())
            return opened[-1]

    published: list[PublishedRules] = []
    feed = StallingRuleFeed(Connection(kafka), published.append)
    feed.start()
    wait_until(lambda: published, "the rules are read")
    opened[0].pause([TopicPartition(topic.name, 0) for topic in (RULES, CONTROL)])
    ebbtide(kafka, "pause", "trigger/thanks")
    wait_until(lambda: "trigger/thanks" in published[-1].paused, "another client reads the switch")
    assert len(opened) == 2
    feed.stop()
    ebbtide(kafka, "resume", "trigger/thanks")


def ebbtide(kafka: str, *arguments: str) -> Done:
    return command_line.ebbtide(*arguments, EBBTIDE_KAFKA=kafka)
