"""A transactional command overtakes a backlog of marketing commands: its first attempt comes within a second.

A test that shares its machine counts the mails that went before it. The slow one measures seconds.

`EBBTIDE_TEST_BACKLOG=1000000` makes the backlog a million commands long; `--junitxml=FILE` keeps the figures.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, have_topics, wait_until
from drivers.shaped_delivery import FREE, kept, receipts, shape, shaped, zones_of

from schemas.codec import encode, partition_for
from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import TRANSACTIONAL

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

BACKLOG = int(os.environ.get("EBBTIDE_TEST_BACKLOG", "20000"))
URGENT = 5
BEFORE = 50
"""So many mails of the backlog may go before an urgent one. In a second about 50 go."""
WITHIN_S, SLOWEST_S = 1.0, 5.0
DOMAIN = "busy.example"
SLOW = f'[[provider]]\nname = "slow"\nrecipients = ["*@{DOMAIN}"]\nlatency_ms = [50, 100]\n'
LONG = timedelta(days=3)


@pytest.fixture(params=["relay", "lanes"])
def delivery(
    request: pytest.FixtureRequest, servers: RealServers, database_url: str, tmp_path: Path
) -> Iterator[Harbour]:
    """Delivery to a slow server: on the one lane to a relay, or on the lane of a domain."""
    with shaped(servers, database_url, tmp_path, zones_of(DOMAIN), SLOW, connections=4) as made:
        if request.param == "relay":
            made.settings["shaping"] = None
        else:
            shape(made, FREE + "connection_limit = 4\n")
        yield made


def fill(delivery: Harbour, count: int, template: str) -> None:
    """Let so many marketing commands wait in the ledger, as the intake admits them, for users of all partitions."""
    partitions = have_topics(delivery.kafka)
    users = [delivery.publish_user(address=f"user{number}@{DOMAIN}") for number in range(100)]
    with psycopg.connect(delivery.ledger_url) as connection:
        connection.execute("CREATE TEMPORARY TABLE sample (number int, partition int, user_id text, command text)")
        with connection.cursor().copy("COPY sample FROM STDIN") as copy:
            for number, user in enumerate(users):
                command = a_command(user, template, expires_at=datetime.now(UTC) + LONG, id="0" * 32)
                copy.write_row((number, partition_for(user.encode(), partitions), user, encode(command).decode()))
        connection.execute(
            """CREATE TEMPORARY TABLE waiting AS
               SELECT gen_random_uuid() AS id, number FROM generate_series(1, %s) AS number""",
            [count],
        )
        connection.execute(
            """INSERT INTO ledger_ids (command_id, admitted_on)
               SELECT id, (now() AT TIME ZONE 'UTC')::date FROM waiting"""
        )
        connection.execute(
            """INSERT INTO ledger_queue (command_id, partition, priority, admitted_at, decided_at, next_attempt_at,
                                         state_at, state, user_id, trigger, purpose, command)
               SELECT id, partition, 50, now(), now(), now(), now(), 'admitted', user_id, 'hello', 'marketing',
                      convert_to(replace(command, repeat('0', 32), replace(id::text, '-', '')), 'UTF8')
               FROM waiting JOIN sample ON sample.number = waiting.number % 100"""
        )
        connection.execute("ANALYZE ledger_queue")


@dataclass(frozen=True)
class Overtaking:
    """How long after its command was published the receiver had an urgent mail, and how many it had in between."""

    seconds: float
    mails: int


def overtake(delivery: Harbour, template: str) -> Overtaking:
    """Send one urgent mail."""
    user = delivery.publish_user(address=f"urgent@{DOMAIN}")
    known = "SELECT count(*) FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(known, user) == [(1,)], "delivery knows the user")  # else the mail waits a second
    command: SendCommand = a_command(user, template, purpose=TRANSACTIONAL, priority=90)
    published = time.time()
    delivery.publish(COMMANDS.name, user, command)
    [taken, *_] = wait_until(lambda: [each.at for each in kept(delivery, [command])], "the urgent mail")
    mails = sum(published < each.at < taken for each in receipts(delivery, "mail"))
    return Overtaking(taken - published, mails)


def overtake_backlog(delivery: Harbour, record_property: Callable[[str, object], None]) -> list[Overtaking]:
    """Send urgent mails, one after another, while a backlog is being sent."""
    template = delivery.publish_template()
    fill(delivery, BACKLOG, template)
    delivery.sink.start()
    delivery.start_process()
    wait_until(lambda: len(receipts(delivery, "mail")) > 20, "the backlog is being sent")

    found = [overtake(delivery, template) for _ in range(URGENT)]

    record_property(f"seconds to the first attempt over {BACKLOG}", [round(each.seconds, 3) for each in found])
    record_property("mails of the backlog before each", [each.mails for each in found])
    assert delivery.rows("SELECT count(*) > %s FROM ledger_queue", BACKLOG // 2) == [(True,)]
    return found


def test_a_transactional_command_overtakes_the_backlog(
    delivery: Harbour, record_property: Callable[[str, object], None]
) -> None:
    assert max(each.mails for each in overtake_backlog(delivery, record_property)) < BEFORE


@pytest.mark.slow
def test_its_first_attempt_comes_within_a_second(
    delivery: Harbour, record_property: Callable[[str, object], None]
) -> None:
    waits = [each.seconds for each in overtake_backlog(delivery, record_property)]
    assert median(waits) < WITHIN_S
    assert max(waits) < SLOWEST_S
