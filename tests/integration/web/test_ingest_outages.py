"""What HTTP ingest answers while Kafka or PostgreSQL is away: never a 2xx for what is not durable, and soon."""

import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from drivers.own_broker import OwnBroker, own_broker
from drivers.own_postgres import own_postgres
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_web import RunningWeb, Told, records, running_web

from web import app
from web.server.event_log import EventLog

pytestmark = pytest.mark.servers


def track(user: str) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": "e", "messageId": uuid.uuid4().hex}


def timed(web: RunningWeb, path: str, body: dict[str, Any]) -> tuple[Told, float]:
    began_s = time.monotonic()
    return web.ask(path, body), time.monotonic() - began_s


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("broker")) as running:
        yield running


def test_a_frozen_broker(database_url: str, broker: OwnBroker) -> None:
    with running_web(broker.address, database_url) as web:
        users = [uuid.uuid4().hex for _ in range(30)]
        assert web.ask("/v1/track", track("before")).status == 200
        answers: dict[str, tuple[Told, float]] = {}

        def send(user: str) -> None:
            answers[user] = timed(web, "/v1/track", track(user))

        waiting = [threading.Thread(target=send, args=(user,)) for user in users]
        broker.freeze()
        try:
            for thread in waiting:
                thread.start()

            def refused_at_once() -> tuple[str, Told] | None:
                user = uuid.uuid4().hex  # the broker may yet write what was refused only after a while
                told, took_s = timed(web, "/v1/track", track(user))
                return (user, told) if (told.status, took_s < 0.5) == (503, True) else None

            refused, told = wait_until(refused_at_once, "calls are refused at once")
            assert int(told.headers["retry-after"]) > 0
            assert web.ask("/v1/identify", {"userId": "ann", "traits": {"a": 1}}).status == 200
            for thread in waiting:
                thread.join()
            assert {told.status for told, _ in answers.values()} == {503}
            assert max(took_s for _, took_s in answers.values()) < 5
        finally:
            broker.thaw()
        wait_until(lambda: web.ask("/v1/track", track("after")).status == 200, "events are taken again")
        for user in users:
            assert web.ask("/v1/track", track(user)).status == 200
        found = {message.key() for message in records(broker.address)}
        assert {user.encode() for user in users} | {b"before", b"after"} <= found
        assert refused.encode() not in found


def test_more_than_may_wait_is_postponed(database_url: str, broker: OwnBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100
    monkeypatch.setattr(app, "EventLog", partial(EventLog, most_events=most))
    with running_web(broker.address, database_url) as web:
        assert web.ask("/v1/track", track("before")).status == 200
        batch = {"batch": [track(f"u{number}") for number in range(most // 2 + 1)]}
        answers: list[Told] = []
        broker.freeze()
        try:
            calls = [threading.Thread(target=lambda: answers.append(web.ask("/v1/batch", batch))) for _ in range(2)]
            for call in calls:
                call.start()
            wait_until(lambda: answers, "one is answered")
            assert answers[0].status == 429
            assert int(answers[0].headers["retry-after"]) > 0
        finally:
            broker.thaw()
        for call in calls:
            call.join()
        assert answers[1].status in {200, 503}
        wait_until(lambda: web.ask("/v1/batch", batch).status == 200, "events are taken again")


def test_without_postgres_events_go_on_and_profiles_wait(servers: RealServers, tmp_path: Path) -> None:
    with own_postgres(servers, tmp_path / "postgres") as postgres, running_web(servers.kafka, postgres.url) as web:
        user = uuid.uuid4().hex
        assert web.ask("/v1/identify", {"userId": user, "traits": {"a": 1}}).status == 200
        postgres.stop()
        assert web.ask("/v1/track", track(user)).status == 200
        both = {"batch": [track(user), {"type": "identify", "userId": user, "traits": {"a": 2}}]}
        told, took_s = timed(web, "/v1/batch", both)
        assert (told.status, took_s < 5) == (503, True)
        assert int(told.headers["retry-after"]) > 0
        postgres.start()
        wait_until(lambda: web.ask("/v1/batch", both).status == 200, "values of profiles are taken again")
        assert web.ask(f"/v1/users/{user}").json["attributes"]["a"]["value"] == 2
        ids = {event["id"] for event in web.events(user)}
        assert len(ids) == 2
