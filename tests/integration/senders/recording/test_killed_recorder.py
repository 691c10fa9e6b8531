"""A recorder that is killed again and again, then reads all a second time: no fact is lost, and none counts twice."""

import random
import subprocess
import sys
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.real_servers import RealServers
from drivers.recorded_facts import BEGAN, a_decision, an_outcome, expected, forget_rollups, kept
from drivers.recording_worker import PARTITIONS
from drivers.running_senders import wait_until
from drivers.troubled_run import TESTS

from schemas import codec
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.vocabulary import DecisionOutcome, Evidence, OutcomeKind
from senders.recording.rebuild import days_to_count, rebuild

pytestmark = pytest.mark.servers

MAILS, KILLS = 1_500, 5
COUNT = """SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM deliveries)
                  + (SELECT count(*) FROM engagement)"""


def life(number: int, chance: random.Random) -> list[Decision | Outcome]:
    """What happens to one mail, over three days."""
    at = chance.randrange(24 * 60)
    about = {
        "trigger": chance.choice(["hello", "cart"]),
        "step": "first",
        "variant": chance.choice([None, "a"]),
        "purpose": "news",
        "decided_at": BEGAN + timedelta(minutes=at),
    }
    facts: list[Decision | Outcome] = [a_decision(number, DecisionOutcome.SEND, at)]
    answers = range(1, chance.randint(1, 3))
    facts += [an_outcome(number, OutcomeKind.DEFERRED, at + each, attempt=each, **about) for each in answers]
    facts.append(an_outcome(number, OutcomeKind.ACCEPTED, at + 5, attempt=3, provider="gmail", **about))
    for kind in chance.choices([OutcomeKind.OPENED, OutcomeKind.CLICKED], k=chance.randint(0, 4)):
        evidence, machine = chance.choice([(Evidence.PROXY, "unknown"), (Evidence.NAVIGATION, False), (None, True)])
        late = at + chance.randrange(2 * 24 * 60)
        facts.append(an_outcome(number, kind, late, evidence=evidence, machine=machine))
    if chance.random() < 0.2:
        sent_at = (BEGAN + timedelta(minutes=at)).isoformat()
        facts.append(a_decision(number, DecisionOutcome.GOAL, at + 90, sent_at=sent_at, held_out=False))
    return facts


def publish(kafka: str, topics: str, facts: list[Decision | Outcome]) -> None:
    """Write the facts to two topics, by user."""
    client = AdminClient({"bootstrap.servers": kafka})
    new = [NewTopic(f"{topics}{name}", PARTITIONS, 1) for name in ("decisions", "outcomes")]
    for made in client.create_topics(new).values():
        made.result(10)
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 20})
    for fact in facts:
        name = "decisions" if isinstance(fact, Decision) else "outcomes"
        producer.produce(f"{topics}{name}", codec.encode(fact), fact.user_id)
    assert producer.flush(30) == 0


def test_a_recorder_that_is_killed_and_replayed_counts_each_fact_once(
    servers: RealServers, database_url: str, topic_prefix: str, seed: int
) -> None:
    chance = random.Random(seed)
    facts = [fact for number in range(MAILS) for fact in life(number, chance)]
    coming = facts + chance.sample(facts, len(facts) // 5)
    chance.shuffle(coming)  # so most of them are late
    publish(servers.kafka, topic_prefix, coming)

    def worker(group: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "drivers.recording_worker", servers.kafka, database_url, topic_prefix, group]
        return subprocess.Popen(program, cwd=TESTS)

    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:

        def count() -> Any:
            [[found]] = connection.execute(COUNT).fetchall()
            return found

        for _ in range(KILLS):
            before, process = count(), worker(f"{topic_prefix}first")
            try:
                wait_until(lambda before=before: count() > before, "it has recorded something")  # type: ignore[misc]
            finally:
                process.kill()
                process.wait()
        assert count() < len({fact.id for fact in facts}), "it was killed before the end"
        assert worker(f"{topic_prefix}first").wait(60) == 0
        assert count() == len({fact.id for fact in facts})
        found = kept(connection)
        assert worker(f"{topic_prefix}again").wait(60) == 0
        assert kept(connection) == found, "a replay changes nothing"

        mails = connection.execute("SELECT sum(accepted), sum(deferred), sum(converted) FROM rollup_mails_day")
        names = [row[-1] for row in expected(facts)["mails"].elements()]
        assert mails.fetchone() == tuple(names.count(name) for name in ("accepted", "deferred", "converted"))
        forget_rollups(connection)
        rebuild(connection, days_to_count(connection, None, None))
        assert kept(connection) == found
