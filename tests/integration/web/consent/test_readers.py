"""The readers of consent on real servers: each change is one entry, also if their process is killed again and again."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.web_topics import WrittenRecords, publish

from infra.postgres.migrate import migrate
from schemas.codec import encode
from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from schemas.topics import OUTCOMES, PROFILES
from schemas.vocabulary import OutcomeKind
from web.consent import proofs, verification
from web.consent.signed_heads import HeadKeys

pytestmark = pytest.mark.servers

SEED = "cd" * 32
NOW = datetime.now(UTC)
KILLS = 4
USERS = 300
READERS = """
import sys
from threading import Event, Thread
from infra.kafka.connection import Connection
from infra.postgres.database import Database
from infra.service.outages import Outage
from web.consent.readers import ConsentOutcomeReader, ConsentProfileReader
from web.consent.signed_heads import HeadKeys

kafka, url, partitions, seed = sys.argv[1:]
halt = Event()
def arguments():
    return Connection(kafka), Database(url, Outage("ledger"), halt), halt, int(partitions), 6_000, "test"
readers = [ConsentProfileReader(*arguments(), keys=HeadKeys([seed])), ConsentOutcomeReader(*arguments())]
threads = [Thread(target=reader.run) for reader in readers]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@contextmanager
def reading_process(kafka: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Both readers in a process of their own, killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", READERS, kafka, url, str(have_topics(kafka)), SEED])
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def profile(user: str, version: int) -> bytes:
    time = NOW - timedelta(days=1) + timedelta(seconds=version)
    return encode(
        Profile(user_id=user, consent={"news": Consent(granted=version % 2 == 0, time=time, text_version=str(version))})
    )


def unsubscribed(user: str) -> bytes:
    outcome = Outcome(
        id=f"{user}-u", command_id="c", user_id=user, purpose="offers", kind=OutcomeKind.UNSUBSCRIBED, time=NOW
    )
    return encode(outcome)


def has_rows(url: str, count: int) -> bool:
    return rows(url) >= count


def rows(url: str) -> int:
    with closing(psycopg.connect(url)) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM consent_entries").fetchall()
        return int(count)


def test_kills_lose_and_double_no_consent(
    servers: RealServers, database_url: str, topic_prefix: str, seed: int
) -> None:
    """Each user says three things on `profiles`, each of them twice, and one on `outcomes`."""
    chance = random.Random(seed)
    migrate(database_url)
    for topic, reader in ((PROFILES.name, "consent-profiles"), (OUTCOMES.name, "consent-outcomes")):
        with closing(WrittenRecords(servers.kafka, topic)) as written:
            written.begin_reader(database_url, reader)
    users = [f"{topic_prefix}{number}" for number in range(USERS)]
    said = [(user, profile(user, version), []) for version in range(3) for user in users for _ in range(2)]
    share = len(said) // KILLS

    publish(servers.kafka, OUTCOMES.name, [(user, unsubscribed(user), []) for user in users])
    for number in range(KILLS):
        before = rows(database_url)
        with reading_process(servers.kafka, database_url):
            publish(servers.kafka, PROFILES.name, said[number * share : (number + 1) * share])
            wait_until(partial(has_rows, database_url, before + chance.randint(1, 60)), "some entries are written")
    with reading_process(servers.kafka, database_url):
        wait_until(partial(has_rows, database_url, 4 * USERS), "all entries are written")

    with psycopg.connect(database_url, options="-c timezone=UTC") as connection:
        found = verification.verify(connection, HeadKeys([SEED]))
        assert (found.rows, found.problems) == (4 * USERS, [])
        for user in users[::10]:
            proof = proofs.prove(connection, user)
            assert proof is not None
            entries = Counter((each.change.purpose, each.change.text_version) for each in proof.entries)
            assert entries == {("news", "0"): 1, ("news", "1"): 1, ("news", "2"): 1, ("offers", ""): 1}
