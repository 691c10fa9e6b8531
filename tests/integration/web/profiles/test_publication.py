"""Profiles from the store to the topic `profiles`, and from there back, beside backends that publish there too."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import orjson
import psycopg
import pytest
from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.web_topics import WrittenRecords, publish, reading
from structlog.testing import capture_logs

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.postgres.database import AsyncDatabase, Database
from infra.service.outages import Outage
from schemas.codec import decode, encode
from schemas.profile_records import ProfileRecord, ProfileRemoval
from schemas.profiles import Consent, Profile
from schemas.topics import PROFILES
from web.profiles import once_reader, outbox_publisher
from web.profiles.follower import FollowedProfile, OwnProfile, ProfileFollower
from web.profiles.once_reader import Place
from web.profiles.outbox import OutboxBatch
from web.profiles.outbox_producer import VERSION_HEADER, OutboxRecord, records_of
from web.profiles.outbox_publisher import OutboxPublisher
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.profile_state import microseconds
from web.profiles.store import ProfileStore

pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)
BACKED_UP = ("profiles", "identity_links", "web_outbox", "web_publisher", "web_progress")


class ProfileWorld:
    """A store, a follower and a publisher on real servers."""

    def __init__(self, kafka: str, url: str, written: WrittenRecords) -> None:
        self.kafka, self.url, self.written = kafka, url, written
        self.databases = [AsyncDatabase(url, Outage("ledger")) for _ in range(4)]
        self.store = ProfileStore(*self.databases[:2])

    def publisher(self, number: int = 0) -> OutboxPublisher:
        return OutboxPublisher(
            Connection(self.kafka), self.databases[2 + number], self.written.partitions, Outage("kafka")
        )

    @contextmanager
    def following(self) -> Iterator[None]:
        yield from reading(self.follower(Event()))

    def follower(self, halt: Event) -> ProfileFollower:
        database = Database(self.url, Outage("ledger"), halt)
        return ProfileFollower(Connection(self.kafka), database, halt, self.written.partitions, 6_000)

    def follow(self, *records: ProfileRecord | OwnProfile) -> None:
        """Writes records as a follower does that reads them by one batch."""
        follower = self.follower(Event())
        now_us = microseconds(datetime.now(UTC))
        items = [FollowedProfile(each, Place(0, number, now_us + number)) for number, each in enumerate(records)]
        with closing(follower.database), closing(follower.consumer):
            follower.database.run(lambda connection: follower.write_once(connection, items))

    def backend(self, profile: Profile) -> None:
        publish(self.kafka, PROFILES.name, [(profile.user_id, encode(profile), [])])

    def last(self, user_id: str, condition: Callable[[Profile], bool], what: str) -> Profile:
        def fulfils(record: Message) -> bool:
            value = record.value()
            return value is not None and condition(decode(Profile, value))

        return decode(Profile, self.written.await_last(user_id, fulfils, what).value())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            return connection.execute(query.encode()).fetchall()

    def back_up(self) -> None:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            for table in BACKED_UP:
                connection.execute(f"CREATE TABLE saved_{table} AS TABLE {table}".encode())
            connection.execute("CREATE TABLE saved_versions AS SELECT last_value FROM profile_versions")

    def restore(self) -> None:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            for table in BACKED_UP:
                connection.execute(f"DELETE FROM {table}".encode())
                connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE saved_{table}".encode())
            connection.execute("SELECT setval('profile_versions', (SELECT last_value FROM saved_versions))")

    def await_rows(self, query: str, what: str) -> list[tuple[Any, ...]]:
        return wait_until(lambda: self.rows(query), what)


@pytest.fixture
async def world(
    servers: RealServers, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ProfileWorld]:
    for pause in ("NOTE_EVERY_S", "ASK_EVERY_S"):
        monkeypatch.setattr(once_reader, pause, 0.1)
    written = WrittenRecords(servers.kafka, PROFILES.name)
    written.begin_reader(database_url, "profiles")
    made = ProfileWorld(servers.kafka, database_url, written)
    yield made
    await made.store.close()
    for database in made.databases:
        await database.close()
    written.close()


@pytest.fixture
async def running(world: ProfileWorld) -> AsyncIterator[ProfileWorld]:
    async with run(world):
        yield world


@asynccontextmanager
async def run(world: ProfileWorld) -> AsyncIterator[None]:
    """Runs the publisher and the follower of a world."""
    with world.following():
        task = asyncio.create_task(world.publisher().run())
        yield
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def published(publisher: OutboxPublisher) -> int:
    """How many entries the publisher publishes first."""
    async with asyncio.timeout(30):
        while not (count := await publisher.publish_batch()):
            await asyncio.sleep(0.05)
    return count


def said(user_id: str, **attributes: Any) -> ProfilePatch:
    return ProfilePatch(user_id, microseconds(datetime.now(UTC)), "shop", attributes=attributes)


def yes(at: datetime, granted: bool = True) -> Consent:
    return Consent(granted=granted, time=at, method="form", text_version="1")


async def test_a_change_is_published_whole(running: ProfileWorld) -> None:
    patch = ProfilePatch("p1", microseconds(NOW), "shop", {"address": "ann@shop.example"}, {"plan": "gold"})
    await running.store.store([patch])
    await asyncio.to_thread(running.written.await_count, "p1", 1)
    await running.store.store([said("p1", city="Rome")])

    profile = await asyncio.to_thread(running.last, "p1", lambda each: "city" in each.attributes, "the second version")
    assert profile == Profile(user_id="p1", address="ann@shop.example", attributes={"plan": "gold", "city": "Rome"})
    await asyncio.to_thread(running.await_rows, "SELECT 1 WHERE NOT EXISTS (SELECT FROM web_outbox)", "an empty outbox")


async def test_a_change_on_a_page_keeps_the_address_that_a_backend_published(running: ProfileWorld) -> None:
    address = "ann@shop.example"
    running.backend(Profile(user_id="p2", address=address, attributes={"plan": "gold"}, consent={"news": yes(NOW)}))
    await asyncio.to_thread(running.await_rows, "SELECT FROM profiles WHERE version > 0", "the follower's row")
    await running.store.store([ProfilePatch("p2", microseconds(datetime.now(UTC)), "page", {"locale": "de"})])

    profile = await asyncio.to_thread(running.last, "p2", lambda each: each.locale == "de", "the change")
    assert (profile.address, profile.attributes, profile.consent["news"].granted) == (address, {"plan": "gold"}, True)
    state = await running.store.read("p2")
    assert state is not None
    assert [state.values[name].source for name in ("address", "locale")] == ["profiles", "page"]


async def test_what_a_backend_publishes_is_not_published_again(running: ProfileWorld) -> None:
    for plan in ("gold", "free"):
        running.backend(Profile(user_id="p3", address="ann@shop.example", attributes={"plan": plan}))
    await asyncio.to_thread(
        running.await_rows,
        "SELECT FROM profiles WHERE state -> 'attributes' -> 'plan' ->> 2 = 'free'",
        "the follower's row",
    )
    assert running.rows("SELECT FROM web_outbox") == []
    await asyncio.to_thread(running.written.await_count, "p3", 2)


async def test_a_stale_yes_of_a_backend_does_not_undo_a_no(running: ProfileWorld) -> None:
    no = ProfilePatch("p4", microseconds(NOW), "page", consent={"news": yes(NOW, granted=False)})
    await running.store.store([no])
    await asyncio.to_thread(running.last, "p4", lambda each: "news" in each.consent, "the no")
    running.backend(Profile(user_id="p4", address="a@b.example", consent={"news": yes(NOW - timedelta(days=1))}))

    profile = await asyncio.to_thread(
        running.last, "p4", lambda each: bool(each.address) and not each.consent["news"].granted, "the no again"
    )
    assert profile.address == "a@b.example"


async def test_a_pause_outlives_what_a_backend_publishes(running: ProfileWorld) -> None:
    until = NOW + timedelta(days=30)
    await running.store.store([ProfilePatch("p14", microseconds(NOW), "page", {"paused_until": until.isoformat()})])
    await asyncio.to_thread(running.last, "p14", lambda each: each.paused_until == until, "the pause")
    running.backend(Profile(user_id="p14", address="a@b.example"))
    profile = await asyncio.to_thread(
        running.last, "p14", lambda each: bool(each.address and each.paused_until), "the pause again"
    )
    assert profile.paused_until == until


async def test_an_unreadable_profile_takes_every_yes_back(running: ProfileWorld) -> None:
    running.backend(Profile(user_id="p5", address="a@b.example", consent={"news": yes(NOW), "offers": yes(NOW)}))
    await asyncio.to_thread(running.await_rows, "SELECT FROM profiles WHERE version > 0", "the follower's row")
    value = orjson.dumps({"user_id": "p5", "address": 5, "consent": {"news": {"granted": False}}})
    publish(running.kafka, PROFILES.name, [("p5", value, [])])

    profile = decode(Profile, (await asyncio.to_thread(running.written.await_count, "p5", 3)).value())
    assert profile.address == "a@b.example"
    assert [(purpose, answer.granted) for purpose, answer in profile.consent.items()] == [("news", False)]


async def test_a_removed_user_is_removed_from_the_store(running: ProfileWorld) -> None:
    running.backend(Profile(user_id="p6", address="a@b.example"))
    await asyncio.to_thread(running.await_rows, "SELECT FROM profiles WHERE version > 0", "the follower's row")
    publish(running.kafka, PROFILES.name, [("p6", None, [])])
    await asyncio.to_thread(running.await_rows, "SELECT 1 WHERE NOT EXISTS (SELECT FROM profiles)", "no row")

    await running.store.store([said("p6", plan="new")])
    profile = await asyncio.to_thread(running.last, "p6", lambda each: "plan" in each.attributes, "the new profile")
    assert profile == Profile(user_id="p6", attributes={"plan": "new"})


async def test_a_removal_takes_the_links_also_if_a_new_profile_follows_at_once(world: ProfileWorld) -> None:
    assert await world.store.store([said("p14", plan="gold")], [IdentityLink("a14", "p14", microseconds(NOW))]) == []
    world.follow(ProfileRemoval("p14"), Profile(user_id="p14", attributes={"plan": "new"}))
    assert await world.store.visitors("p14", 10) == []
    state = await world.store.read("p14")
    assert state is not None
    assert state.attributes["plan"].value == "new"


async def test_an_own_record_that_is_older_than_the_store_is_replaced(running: ProfileWorld) -> None:
    """As when a backend's record came between the reading of the outbox and its publication."""
    running.backend(Profile(user_id="p7", address="new@b.example"))
    old = encode(Profile(user_id="p7", address="old@b.example"))
    publish(running.kafka, PROFILES.name, [("p7", old, [(VERSION_HEADER, b"0")])])

    record = await asyncio.to_thread(running.written.await_count, "p7", 3)
    assert decode(Profile, record.value()).address == "new@b.example"


async def test_an_own_record_behind_a_removal_is_removed_again(running: ProfileWorld) -> None:
    publish(running.kafka, PROFILES.name, [("p8", None, [])])
    old = encode(Profile(user_id="p8", address="old@b.example"))
    publish(running.kafka, PROFILES.name, [("p8", old, [(VERSION_HEADER, b"7")])])
    record = await asyncio.to_thread(running.written.await_count, "p8", 3)
    assert (record.value(), dict(record.headers() or ())[VERSION_HEADER]) == (None, b"0")


async def test_a_store_that_was_set_back_takes_what_it_had_published_from_the_topic(world: ProfileWorld) -> None:
    """Also if it gives the same versions again before it has read that."""
    settled = "SELECT 1 WHERE NOT EXISTS (SELECT FROM web_outbox)"
    async with run(world):
        await world.store.store([said("p20", plan="gold"), said("p22", plan="gold")])
        await asyncio.to_thread(world.await_rows, settled, "the publication")
    world.back_up()
    async with run(world):
        no = ProfilePatch(
            "p20", microseconds(NOW), "page", {"address": "a@b.example"}, consent={"news": yes(NOW, False)}
        )
        await world.store.store([no, said("p20", plan=None), said("p21", plan="new"), said("p22", plan="free")])
        await asyncio.to_thread(world.await_rows, settled, "the publication of what is lost then")
        publish(world.kafka, PROFILES.name, [("p22", None, [])])
        gone = "SELECT 1 WHERE NOT EXISTS (SELECT FROM profiles WHERE user_id = 'p22')"
        await asyncio.to_thread(world.await_rows, gone, "the removal")
    world.restore()
    await world.store.store([said("p20", shoe=42)])
    with capture_logs() as logs:
        async with run(world):
            await asyncio.to_thread(world.await_rows, settled, "the publication of what is new")
            profile = await asyncio.to_thread(world.last, "p20", lambda each: "shoe" in each.attributes, "all of it")
            await asyncio.to_thread(world.await_rows, gone, "the removal again")

    assert (profile.address, profile.attributes) == ("a@b.example", {"shoe": 42})
    assert not profile.consent["news"].granted
    assert [record.value() is None for record in world.written.of("p21")] == [False]
    assert [record.value() is None for record in world.written.of("p22")] == [False, False, True]
    restored = await world.store.read("p21")
    assert restored is not None
    assert restored.attributes["plan"].source == "restored"
    assert sum(line["count"] for line in logs if line["event"] == "profiles_restored") == 3


async def test_nothing_is_published_until_the_follower_has_read_the_topic(world: ProfileWorld) -> None:
    publisher = world.publisher()
    await world.store.store([said("p9", plan="gold")])
    assert [await publisher.publish_batch() for _ in range(2)] == [0, 0]
    with world.following():
        assert await published(publisher) == 1


async def test_a_process_that_takes_over_waits_until_the_topic_was_read_to_its_end_again(world: ProfileWorld) -> None:
    """Else it might publish behind records that a store that was set back has not read."""
    world.rows("UPDATE web_progress SET caught_up = now() RETURNING 1")
    await world.store.store([said("p15", plan="gold")])
    publisher = world.publisher()
    assert [await publisher.publish_batch() for _ in range(2)] == [0, 0]
    world.rows("UPDATE web_progress SET caught_up = now() RETURNING 1")
    assert await publisher.publish_batch() == 1

    await world.store.store([said("p15", plan="free")])
    world.rows("UPDATE web_publisher SET publication = 0 RETURNING 1")
    assert [await publisher.publish_batch() for _ in range(2)] == [0, 0]


async def test_a_follower_that_kafka_does_not_answer_is_not_up_to_date_for_long(world: ProfileWorld) -> None:
    follower = world.follower(Event())
    noted = "SELECT caught_up FROM web_progress WHERE reader = 'profiles' AND partition = 0"

    def after_batch() -> list[tuple[Any, ...]]:
        follower._note_at_s = follower._ask_at_s = 0.0
        follower.after_batch()
        return world.rows(noted)

    end = world.written.begin[0]
    with closing(follower.database), closing(follower.consumer):
        follower.at_end(PROFILES.name, 0, end)
        first = after_batch()
        again = after_batch()
        follower.ends = EndOffsets(AdminClient({"bootstrap.servers": "127.0.0.1:1"}), 0.1)
        assert first < again == after_batch()


async def test_one_process_at_a_time_publishes_and_another_takes_over(world: ProfileWorld) -> None:
    one, other = world.publisher(0), world.publisher(1)
    with world.following():
        assert [await one.publish_batch(), await other.publish_batch()] == [0, None]
        await world.store.store([said("p10", plan="gold")])
        assert await other.publish_batch() is None
        world.rows("UPDATE web_publisher SET ends_at = now() - interval '1 s' RETURNING 1")
        assert [await published(other), await one.publish_batch()] == [1, None]
    await asyncio.to_thread(world.written.await_count, "p10", 1)


async def test_an_import_waits_for_what_people_change(world: ProfileWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_publisher, "BATCH", 1)
    publisher = world.publisher()
    await world.store.store([said("p12", plan="imported")])
    world.rows("UPDATE web_outbox SET bulk = true RETURNING 1")
    await world.store.store([said("p13", plan="gold")])
    with world.following():
        assert await published(publisher) == 1
    assert world.rows("SELECT user_id FROM web_outbox") == [("p12",)]


async def test_records_are_made_outside_the_event_loop(world: ProfileWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an import take it long enough to hold up calls."""
    made_in = []

    def made(batch: OutboxBatch) -> list[OutboxRecord]:
        made_in.append(threading.current_thread().name)
        return records_of(batch)

    monkeypatch.setattr(outbox_publisher, "records_of", made)
    await world.store.store([said("p14", plan="gold")])
    with world.following():
        assert await published(world.publisher()) == 1
    assert made_in == ["outbox-publish"]


async def test_kafka_away_leaves_everything_in_the_outbox(world: ProfileWorld) -> None:
    away = OutboxPublisher(Connection("127.0.0.1:1"), world.databases[3], world.written.partitions, Outage("kafka"))
    with world.following():
        await world.store.store([said("p11", plan="gold")])
        with pytest.raises(KafkaException):
            await published(away)
    assert world.rows("SELECT user_id FROM web_outbox") == [("p11",)]


@pytest.mark.parametrize("has_turn", [True, False])
async def test_kafka_is_back_for_a_process_that_has_nothing_to_publish(world: ProfileWorld, has_turn: bool) -> None:
    """As after an outage in which another process took its turn, and published all there was."""
    if not has_turn:
        assert await world.publisher(0).publish_batch() == 0
    async with publishing_after_an_outage(world, world.kafka) as (outage, _):
        await asyncio.to_thread(wait_until, lambda: not outage.is_away, "Kafka is back", 10)


async def test_kafka_stays_away_until_it_answers(world: ProfileWorld) -> None:
    assert await world.publisher(0).publish_batch() == 0
    async with publishing_after_an_outage(world, "127.0.0.1:1") as (outage, rounds):
        await asyncio.to_thread(wait_until, lambda: len(rounds) > 2, "it looked at the outbox twice", 10)
        assert outage.is_away


@asynccontextmanager
async def publishing_after_an_outage(world: ProfileWorld, kafka: str) -> AsyncIterator[tuple[Outage, list[None]]]:
    """A publisher that runs and has found Kafka away, and its rounds."""
    outage, rounds = Outage("kafka"), list[None]()
    outage.away(KafkaException())
    publisher = OutboxPublisher(
        Connection(kafka), world.databases[3], world.written.partitions, outage, lambda: rounds.append(None)
    )
    task = asyncio.create_task(publisher.run())
    try:
        yield outage, rounds
    finally:
        task.cancel()
        await asyncio.wait({task})
        asks = [thread for thread in threading.enumerate() if thread.name == "outbox-probe"]
        await asyncio.to_thread(lambda: [thread.join() for thread in asks])
    assert task.cancelled()
