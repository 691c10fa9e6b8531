"""What comes of an erased person is not kept: not from calls, nor from backends, nor from files."""

import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any

import orjson
import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from infra.kafka.connection import Connection
from infra.postgres.database import AsyncDatabase, Database
from infra.postgres.erased_people import OtherErasureKey
from infra.postgres.migrate import migrate
from infra.service.outages import Outage
from schemas.codec import DecodeError
from schemas.people import NO_KEY, NOBODY, PersonHasher
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile
from schemas.profiles import Profile
from schemas.vocabulary import DeadLetterCause
from web.profiles import erasures
from web.profiles.erasures import ErasedPeople
from web.profiles.follower import FollowedProfile, ProfileFollower
from web.profiles.importer import ImportRow, ProfileImport, RefusedRow
from web.profiles.once_reader import Place
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.replay import ReplayRules
from web.profiles.store import ProfileStore
from web.profiles.visitors import AnonymousEvent, VisitorReader

pytestmark = pytest.mark.servers

HASHER = PersonHasher(b"a secret of the tests")
NOW_US = 1_795_946_400_000_000


class ErasedWorld:
    """A database in which ann was erased."""

    def __init__(self, kafka: str, url: str) -> None:
        migrate(url)
        self.kafka, self.url = kafka, url
        self.databases = [AsyncDatabase(url, Outage("ledger")) for _ in range(3)]
        with psycopg.connect(url) as connection:
            erasures.remember(connection, HASHER, ["ann", "visit-of-ann"], datetime.now(UTC))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            return connection.execute(query.encode()).fetchall()

    async def erased(self, hasher: PersonHasher = HASHER) -> ErasedPeople:
        people = ErasedPeople(self.databases[2], hasher)
        await people.load()
        return people


@pytest.fixture
async def world(servers: RealServers, database_url: str) -> AsyncIterator[ErasedWorld]:
    made = ErasedWorld(servers.kafka, database_url)
    yield made
    for database in made.databases:
        await database.close()


def patch(user_id: str) -> ProfilePatch:
    return ProfilePatch(user_id, NOW_US, "shop", attributes={"plan": "gold"})


def follow(world: ErasedWorld, *records: ProfileRecord) -> None:
    """A follower reads these records."""
    have_topics(world.kafka)
    halt = Event()
    database = Database(world.url, Outage("ledger"), halt)
    follower = ProfileFollower(Connection(world.kafka), database, halt, 8, hasher=HASHER)
    items = [FollowedProfile(each, Place(0, number, NOW_US)) for number, each in enumerate(records)]
    with closing(follower.database), closing(follower.consumer):
        follower.database.run(lambda connection: follower.write_once(connection, items))


async def test_values_and_links_of_an_erased_person_are_dropped(world: ErasedWorld) -> None:
    store = ProfileStore(*world.databases[:2], erased=await world.erased())
    links = [IdentityLink("visit", user_id, NOW_US) for user_id in ("ann", "bob")]
    refused = await store.store([patch("ann"), patch("bob"), patch(NOBODY)], links[:1])
    await store.close()

    assert refused == [], "the caller is told nothing"
    assert world.rows("SELECT user_id FROM profiles") == [("bob",)]
    assert world.rows("SELECT * FROM identity_links") == []


async def test_an_erased_person_is_known_by_each_process_and_readmitted_too(world: ErasedWorld) -> None:
    people = await world.erased()
    assert [each in people for each in ("ann", "visit-of-ann", "bob", NOBODY)] == [True, True, False, True]
    with psycopg.connect(world.url) as connection:
        assert erasures.readmit(connection, HASHER, "ann")
        assert not erasures.readmit(connection, HASHER, "ann")
    await people.load()
    assert [each in people for each in ("ann", "visit-of-ann")] == [False, False]


@pytest.mark.parametrize("hasher", [NO_KEY, PersonHasher(b"another secret")])
async def test_a_process_with_another_key_does_not_start(world: ErasedWorld, hasher: PersonHasher) -> None:
    with pytest.raises(OtherErasureKey, match="EBBTIDE_ERASURE_KEY"):
        await world.erased(hasher)
    with psycopg.connect(world.url) as connection, pytest.raises(OtherErasureKey):
        erasures.remember(connection, hasher, ["bob"], datetime.now(UTC))


def test_what_a_backend_publishes_of_them_is_removed_again_and_others_keep_theirs(world: ErasedWorld) -> None:
    unreadable = UnreadableProfile(DecodeError(DeadLetterCause.INVALID, "test"), ("ann", "eve"), "eve", {"news": None})
    follow(world, Profile(user_id="ann"), Profile(user_id="bob", attributes={"plan": "gold"}), unreadable)

    assert sorted(world.rows("SELECT user_id FROM profiles")) == [("bob",), ("eve",)]
    assert ("ann",) in world.rows("SELECT user_id FROM web_outbox"), "the removal is published again"


def test_the_tombstone_of_an_erasure_leaves_the_links_by_which_another_run_finds_the_visits(world: ErasedWorld) -> None:
    links = "INSERT INTO identity_links VALUES ('visit-of-ann', 'ann', 1), ('visit-of-bob', 'bob', 1) RETURNING 1"
    world.rows(links)
    follow(world, ProfileRemoval("ann"), ProfileRemoval("bob"))

    assert world.rows("SELECT anonymous_id FROM identity_links") == [("visit-of-ann",)]


def test_what_an_erased_person_does_before_the_next_login_is_not_kept(world: ErasedWorld) -> None:
    have_topics(world.kafka)
    world.rows("INSERT INTO identity_links VALUES ('phone-of-ann', 'ann', 1), ('phone-of-bob', 'bob', 1) RETURNING 1")
    halt = Event()
    database = Database(world.url, Outage("ledger"), halt)
    reader = VisitorReader(Connection(world.kafka), database, halt, ReplayRules(), hasher=HASHER)
    visitors = [f"{kind}-of-{user}" for kind in ("visit", "phone") for user in ("ann", "bob")]
    place = Place(0, 0, int(time.time() * 1_000_000))
    items = [AnonymousEvent(each, orjson.dumps({"user_id": each}), place) for each in visitors]
    with closing(reader.database), closing(reader.consumer):
        reader.database.run(lambda connection: reader.write_once(connection, items))

    assert world.rows("SELECT anonymous_id FROM visitor_events") == [("visit-of-bob",)]
    assert world.rows("SELECT user_id FROM web_outbox") == [("bob",)]


def test_rows_of_a_file_are_refused(world: ErasedWorld) -> None:
    refused: list[RefusedRow] = []
    with closing(psycopg.connect(world.url, autocommit=True)) as connection:
        importing = ProfileImport(connection, "0" * 32, HASHER)
        importing.begin("file.csv", "file", NOW_US)
        rows = [ImportRow(2, patch("ann")), ImportRow(3, patch("bob"))]
        progress = importing.write(rows, NOW_US, refused.extend)

    assert (progress.changed, progress.refused) == (1, 1)
    assert [each.line for each in refused] == [2]
    assert "readmit" in refused[0].reason
    assert world.rows("SELECT user_id FROM profiles") == [("bob",)]
