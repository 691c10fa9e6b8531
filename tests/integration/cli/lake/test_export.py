"""`ebbtide export` reads real topics, each record once, and other programs read its files."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars
import psycopg
import pytest
from confluent_kafka import Producer
from drivers.command_line import Done, ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from cli.lake.iceberg_tables import iceberg_tables
from cli.lake.lake_folder import LakeFolder
from cli.lake.lake_tables import by_day
from cli.privacy.lake_erasure import NoLake, erase_from
from cli.privacy.receipt import PlaceEnd
from infra.kafka.progress import Progress
from schemas.codec import PARTITIONER, encode
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.people import PersonHasher
from schemas.topics import DECISIONS, OUTCOMES
from schemas.types import Fact
from schemas.vocabulary import DecisionOutcome, OutcomeKind
from web.profiles.erasures import remember

pytestmark = pytest.mark.servers

USERS = 5
KEY = "a key of this test"


class FactPublisher:
    """Publishes facts of users of this test alone: the topics are shared."""

    def __init__(self, kafka: str) -> None:
        self.mark = uuid.uuid4().hex
        settings = {"bootstrap.servers": kafka, "partitioner": PARTITIONER, "transactional.id": self.mark}
        self._producer = Producer(settings)
        self._producer.init_transactions(30)

    def facts(self, first: int, last: int) -> list[Fact]:
        now = datetime.now(UTC)
        found: list[Fact] = []
        for number in range(first, last):
            user, id_ = f"{self.mark}-{number % USERS}", f"{self.mark}-{number}"
            rule: dict[str, Any] = {"trigger": "hello", "rule_hash": "r", "occurrence": id_, "step": "send"}
            decided = Decision(id=id_, user_id=user, outcome=DecisionOutcome.SEND, decided_at=now, **rule)
            of_mail: dict[str, Any] = {"command_id": id_, "user_id": user, "trigger": "hello", "time": now}
            accepted = Outcome(id=f"{id_}-a", kind=OutcomeKind.ACCEPTED, attempt=1, **of_mail)
            clicked = Outcome(id=f"{id_}-c", kind=OutcomeKind.CLICKED, machine=False, **of_mail)
            found += [decided, accepted, clicked]
        return found

    def publish(self, facts: list[Fact]) -> None:
        """In one transaction, as stream workers do."""
        self._producer.begin_transaction()
        for fact in facts:
            topic = DECISIONS if isinstance(fact, Decision) else OUTCOMES
            self._producer.produce(topic.name, encode(fact), fact.user_id.encode())  # type: ignore[attr-defined]
        self._producer.commit_transaction(30)


@pytest.fixture
def publisher(servers: RealServers) -> FactPublisher:
    have_topics(servers.kafka)
    return FactPublisher(servers.kafka)


class Exporter:
    """Exports the topics of a Kafka; who is erased stands in the database."""

    def __init__(self, kafka: str, url: str) -> None:
        self.url = url
        self._kafka = kafka

    def __call__(self, lake: Path, *more: str) -> Done:
        variables = {"EBBTIDE_KAFKA": self._kafka, "EBBTIDE_DATABASE_URL": self.url, "EBBTIDE_ERASURE_KEY": KEY}
        return ebbtide("export", "--to", lake, *more, **variables)


@pytest.fixture
def export(servers: RealServers, database_url: str) -> Exporter:
    return Exporter(servers.kafka, database_url)


def ids(lake: Path, table: str, mark: str) -> list[str]:
    query = f"SELECT id FROM read_parquet('{lake}/{table}/*/*.parquet') WHERE user_id LIKE '{mark}%'"
    return sorted(id_ for (id_,) in duckdb.sql(query).fetchall())


def test_each_fact_is_exported_once_however_often_it_is_published_and_exported(
    publisher: FactPublisher, export: Exporter, tmp_path: Path
) -> None:
    lake, facts = tmp_path / "lake", publisher.facts(0, 20)
    publisher.publish(facts)
    export(lake)
    publisher.publish(facts[:10] + publisher.facts(20, 30))

    export(lake)
    export(lake)

    expected = sorted(f"{publisher.mark}-{number}" for number in range(30))
    assert ids(lake, "decisions", publisher.mark) == expected
    assert ids(lake, "deliveries", publisher.mark) == sorted(f"{id_}-a" for id_ in expected)
    assert ids(lake, "engagement", publisher.mark) == sorted(f"{id_}-c" for id_ in expected)
    frame = polars.read_parquet(lake / "decisions/*/*.parquet")
    assert frame.filter(polars.col("user_id").str.starts_with(publisher.mark)).height == 30


def test_the_offsets_stand_behind_the_markers_of_transactions(
    servers: RealServers, publisher: FactPublisher, export: Exporter, tmp_path: Path
) -> None:
    publisher.publish(publisher.facts(0, 5))

    export(tmp_path / "lake")

    with LakeFolder.opened(tmp_path / "lake") as lake, Progress(servers.kafka) as progress:
        assert lake.offsets == {topic.name: progress.ends(topic.name).high for topic in (DECISIONS, OUTCOMES)}


def test_a_folder_that_is_no_lake_is_refused_and_stays_as_it_is(export: Exporter, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    done = export(tmp_path)

    assert done.returncode == 2
    assert "not empty, and no lake" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_iceberg_tables_get_each_fact_once(publisher: FactPublisher, export: Exporter, tmp_path: Path) -> None:
    lake, facts = tmp_path / "ice", publisher.facts(0, 20)
    publisher.publish(facts)
    assert export(lake, "--format", "iceberg").returncode == 0
    publisher.publish(facts[:10] + publisher.facts(20, 30))

    for _ in range(2):
        assert export(lake, "--format", "iceberg").returncode == 0

    with iceberg_tables(lake, None) as tables:
        for table in tables:
            rows = table._table.scan().to_arrow().to_pylist()
            found = [row["id"] for row in rows if row["user_id"].startswith(publisher.mark)]
            assert len(found) == len(set(found)) == 30, table.name


def test_an_erased_person_is_left_out_and_taken_out(publisher: FactPublisher, export: Exporter, tmp_path: Path) -> None:
    lake, now = tmp_path / "lake", datetime.now(UTC)
    publisher.publish(publisher.facts(0, 10))
    export(lake)
    with psycopg.connect(export.url, autocommit=True) as connection:
        remember(connection, PersonHasher(KEY.encode()), [f"{publisher.mark}-3"], now)
    publisher.publish(publisher.facts(10, 20))
    export(lake)

    [receipt] = erase_from([lake], [f"{publisher.mark}-3"], now)

    assert (receipt.end, receipt.checked) == (PlaceEnd.GONE, "read again: 0 rows")
    assert receipt.done == "decisions: 2 rows, deliveries: 2 rows, engagement: 2 rows"
    left = sorted(f"{publisher.mark}-{number}" for number in range(20) if number % USERS != 3)
    assert ids(lake, "decisions", publisher.mark) == left


def test_rows_in_older_snapshots_of_iceberg_tables_are_told_until_those_are_expired(
    publisher: FactPublisher, tmp_path: Path
) -> None:
    mark, now = publisher.mark, datetime.now(UTC)
    with iceberg_tables(tmp_path, None) as tables:
        for table in tables:
            table.add(by_day(publisher.facts(0, 20)), {})

    receipts = [*erase_from([tmp_path], [f"{mark}-3", f"{mark}-4"], now)]

    assert [(each.end, each.checked) for each in receipts] == [
        (PlaceEnd.GONE, "read again: 0 rows"),
        (PlaceEnd.PENDING, "read again: 24 rows"),
    ]
    with iceberg_tables(tmp_path, None) as tables:
        everybody = [f"{mark}-{number}" for number in range(USERS)]
        assert [table.count(everybody) for table in tables] == [12, 12, 12]
        for table in tables:
            table._table.maintenance.expire_snapshots().older_than(now + timedelta(days=1)).commit()
    _, older = erase_from([tmp_path], [f"{mark}-3"], now)
    assert older.end is PlaceEnd.GONE


def test_a_folder_without_a_lake_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NoLake, match="no lake; name the folder"):
        list(erase_from([tmp_path / "none"], ["u1"], datetime.now(UTC)))
    assert not (tmp_path / "none").exists()
