"""The store of profiles on a real PostgreSQL: what it keeps, alone and among others, and when PostgreSQL is away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, LiteralString

import orjson
import psycopg
import pytest

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.profiles import Consent
from web.profiles import store as store_module
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.profile_state import of_patch, published
from web.profiles.store import ProfileStore, StoreAway

pytestmark = pytest.mark.servers

NOW_US = 1_764_400_000_000_000
MakeStore = Callable[[str], ProfileStore]


@pytest.fixture
async def make_store() -> AsyncIterator[MakeStore]:
    stores: list[ProfileStore] = []

    def make(url: str) -> ProfileStore:
        databases = [AsyncDatabase(url, Outage("ledger")) for _ in range(2)]
        stores.append(ProfileStore(*databases, clock=lambda: NOW_US / 1e6))
        return stores[-1]

    yield make
    for each in stores:
        await each.close()


@pytest.fixture
def store(database_url: str, make_store: MakeStore) -> ProfileStore:
    return make_store(database_url)


def said(user_id: str, at: int = 0, source: str = "shop", **attributes: Any) -> ProfilePatch:
    return ProfilePatch(user_id, NOW_US + at, source, attributes=attributes)


def rows(url: str, query: LiteralString) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(url)) as connection:
        return connection.execute(query).fetchall()


async def attributes(store: ProfileStore, user_id: str) -> dict[str, Any]:
    state = await store.read(user_id)
    assert state is not None
    return {name: stamp.value for name, stamp in state.attributes.items() if stamp.value is not None}


async def test_each_value_counts_by_its_own_time(store: ProfileStore) -> None:
    assert await store.read("u1") is None
    await store.store([said("u1", at=20, plan="gold", city="Rome")])
    await store.store([said("u1", at=10, plan="free", shoe=42), said("u1", at=30, city=None)])

    assert await attributes(store, "u1") == {"plan": "gold", "shoe": 42}


async def test_a_repeated_call_changes_nothing_and_publishes_nothing(store: ProfileStore, database_url: str) -> None:
    for _ in range(3):
        await store.store([said("u1", plan="gold")], [IdentityLink("a1", "u1", NOW_US)])

    assert rows(database_url, "SELECT user_id FROM web_outbox") == [("u1",)]
    assert await store.visitors("u1", 10) == ["a1"]


async def test_calls_that_arrive_together_share_a_transaction_and_each_gets_its_own_answer(
    store: ProfileStore, database_url: str
) -> None:
    wrong = ProfilePatch("u0", NOW_US, "shop", {"address": "nobody"})
    calls = [store.store([said(f"u{number % 50}", number, n=number)]) for number in range(500)]
    *fine, refused = await asyncio.gather(*calls, store.store([wrong, said("u0", 900, n=900)]))

    assert fine == [[]] * 500
    assert [(each.item, each.field) for each in refused] == [(wrong, "address")]
    assert await attributes(store, "u0") == {"n": 900}
    assert [await attributes(store, f"u{number}") for number in (1, 49)] == [{"n": 451}, {"n": 499}]
    assert len(rows(database_url, "SELECT FROM web_outbox")) < 200


async def test_stores_of_several_processes_lose_nothing_of_each_other(
    store: ProfileStore, make_store: MakeStore, database_url: str
) -> None:
    others = [store, make_store(database_url), make_store(database_url)]
    calls = [
        each.store([said(f"u{(n * 7 + index) % 20}", n, **{f"{index}-{n}": n}) for n in range(start, start + 20)])
        for index, each in enumerate(others)
        for start in range(0, 200, 20)
    ]
    await asyncio.gather(*calls)

    found = [await attributes(store, f"u{number}") for number in range(20)]
    assert sum(map(len, found)) == 600


async def test_a_large_call_is_written_in_several_transactions(store: ProfileStore) -> None:
    await store.store([said(f"u{number}", plan="gold") for number in range(1_300)])
    assert await attributes(store, "u1299") == {"plan": "gold"}


async def test_a_patch_that_makes_a_profile_too_large_is_refused_alone(store: ProfileStore) -> None:
    big = [said("u1", **{str(number): "x" * 30_000}) for number in range(8)]
    refused = await store.store([*big, said("u2", plan="gold")])

    assert [each.item for each in refused] == big[6:]
    assert len(await attributes(store, "u1")) == 6
    assert await attributes(store, "u2") == {"plan": "gold"}


async def test_a_refusal_is_kept_of_a_profile_that_is_full_also_if_its_patch_is_too_large(store: ProfileStore) -> None:
    def no(purpose: str, **large: Any) -> ProfilePatch:
        answer = Consent(granted=False, time=datetime.fromtimestamp(NOW_US // 1_000_000, UTC))
        return ProfilePatch("u1", NOW_US, "page", attributes=large, consent={purpose: answer})

    fill = "x" * (200_000 - len(published("u1", of_patch(said("u1", fill="")))))
    assert await store.store([said("u1", fill=fill)]) == []
    mixed = no("offers", more="x")
    assert [each.item for each in await store.store([no("news"), mixed])] == [mixed]

    state = await store.read("u1")
    assert state is not None
    assert (set(state.consent), set(state.attributes)) == ({"news", "offers"}, {"fill"})


async def test_a_patch_that_says_nothing_makes_no_row(store: ProfileStore, database_url: str) -> None:
    await store.store([ProfilePatch("u1", NOW_US, "shop")])
    assert rows(database_url, "SELECT FROM profiles") == []


async def test_the_last_link_of_a_visitor_counts_in_any_order(store: ProfileStore) -> None:
    links = [IdentityLink("a1", user_id, NOW_US + at) for user_id, at in (("u2", 2), ("u1", 1), ("u3", 2))]
    await store.store([], links[:2])
    assert await store.visitors("u2", 10) == ["a1"]
    await store.store([], [links[2], links[0]])
    assert await store.visitors("u3", 10) == ["a1"]
    assert await store.visitors("u2", 10) == []


async def test_a_no_of_before_the_yes_by_time_changes_nothing_and_a_later_one_does(store: ProfileStore) -> None:
    def answer(granted: bool, second: int) -> ProfilePatch:
        at = datetime.fromtimestamp(NOW_US // 1_000_000 + second, UTC)
        given = Consent(granted=granted, time=at, method="form", text_version="1")
        return ProfilePatch("u1", NOW_US, "page", consent={"news": given})

    granted = []
    for patch in (answer(True, 10), answer(False, 5), answer(False, 20), answer(True, 15)):
        await store.store([patch])
        state = await store.read("u1")
        assert state is not None
        granted.append(orjson.loads(published("u1", state))["consent"]["news"]["granted"])
    assert granted == [True, True, False, False]


async def test_the_store_is_away_at_once_if_nothing_listens(make_store: MakeStore) -> None:
    away = make_store("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreAway):
        await away.store([said("u1", plan="gold")])
    with pytest.raises(StoreAway):
        await away.read("u1")


async def test_a_lost_connection_is_made_again_unnoticed(store: ProfileStore, database_url: str) -> None:
    await store.store([said("u1", plan="gold")])
    rows(
        database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await store.store([said("u1", 1, plan="free")])
    assert await attributes(store, "u1") == {"plan": "free"}


async def test_calls_do_not_wait_for_a_server_that_hangs(
    store: ProfileStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ANSWER_S", 1.0)
    monkeypatch.setattr(store_module, "STUCK_S", 0.1)
    await store.store([said("u1", plan="gold")])
    with closing(psycopg.connect(database_url)) as connection:
        connection.execute("LOCK TABLE profiles")
        with pytest.raises(StoreAway):
            await store.store([said("u1", 1, plan="free")])
        with pytest.raises(StoreAway):
            store.store([said("u1", 2, plan="pro")]).send(None)  # in its first step: at once
        connection.rollback()

    monkeypatch.setattr(store_module, "ANSWER_S", 5.0)
    monkeypatch.setattr(store_module, "STUCK_S", 5.0)
    await store.store([said("u1", 3, shoe=42)])
    assert await attributes(store, "u1") == {"plan": "free", "shoe": 42}


async def test_a_call_of_several_transactions_has_one_deadline(
    store: ProfileStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ANSWER_S", 0.5)
    monkeypatch.setattr(store_module, "GROUP", 1)
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        connection.execute(
            """CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$"""
        )
        connection.execute(
            "CREATE TRIGGER slow AFTER INSERT ON profiles FOR EACH STATEMENT EXECUTE FUNCTION take_long()"
        )
    with pytest.raises(StoreAway):
        await store.store([said(f"u{number}", plan="gold") for number in range(5)])
    assert await store.read("u3") is None
