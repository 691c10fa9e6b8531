"""The audit: what commands write into it, what it shows, and what becomes of a changed row."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from drivers.command_line import Done, ebbtide
from drivers.free_ports import free_port
from drivers.running_senders import have_topics
from drivers.whole_pipeline import new_topics

from cli.auditing import NumberedChange, audit_numbered, audited
from cli.environment import Environment
from infra.postgres import audit
from infra.postgres.audit import AuditedChange
from infra.postgres.migrate import migrate
from schemas.people import PersonHasher

pytestmark = pytest.mark.servers

ERASURE_KEY = "a key of erasures"
AWAY = "postgresql://postgres@127.0.0.1:{}/ebbtide"


class AuditWorld:
    """A database with an audit, and the command line."""

    def __init__(self, kafka: str, url: str) -> None:
        self.kafka, self.url = kafka, url

    def ebbtide(self, *arguments: object, url: str | None = None) -> Done:
        variables = {"EBBTIDE_KAFKA": self.kafka, "EBBTIDE_ERASURE_KEY": ERASURE_KEY, "LOGNAME": "bob"}
        return ebbtide(*arguments, EBBTIDE_DATABASE_URL=url or self.url, **variables)

    def entries(self, *arguments: object) -> list[dict[str, Any]]:
        done = self.ebbtide("audit", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [orjson.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            yield connection

    def add(self, count: int) -> None:
        with self.connected() as connection:
            for number in range(count):
                audit.add(connection, AuditedChange("ada", "keys add", f"key {number}", None, {"number": number}))

    def tamper(self, statement: str) -> None:
        with self.connected() as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement.encode())


@pytest.fixture
def world(servers, database_url) -> AuditWorld:
    have_topics(servers.kafka)
    migrate(database_url)
    return AuditWorld(servers.kafka, database_url)


def test_changes_of_keys_and_suppressions_say_who_what_before_and_after(world):
    key = orjson.loads(world.ebbtide("keys", "add", "--class", "server", "--source", "shop", "--json").stdout)
    world.ebbtide("keys", "revoke", key["id"], "--by", "ada")
    why = ("--reason", "asked by ann@shop.example", "--by", "ada")
    assert world.ebbtide("suppressions", "add", "ann@shop.example", *why).returncode == 0
    assert world.ebbtide("suppressions", "lift", "ann@shop.example", *why).returncode == 0

    made, revoked, added, lifted = world.entries()
    assert [each["what"] for each in (made, revoked, added, lifted)] == [
        "keys add", "keys revoke", "suppressions add", "suppressions lift",
    ]  # fmt: skip
    assert (made["who"], made["before"], made["after"]["source"]) == ("bob", None, "shop")
    assert (revoked["who"], revoked["subject"]) == ("ada", f"key {key['id']}")
    assert (revoked["before"]["ends_at"], revoked["after"]["ends_at"] is None) == (None, False)
    assert added["subject"] == lifted["subject"]
    assert lifted["before"]["reason"] == "command"
    said = world.ebbtide("audit", "--json").stdout
    assert key["secret"] not in said
    assert "@shop.example" not in said


def test_a_change_that_was_not_made_is_not_in_the_audit(world):
    world.ebbtide("suppressions", "add", "ann@shop.example", "--reason", "x", "--by", "ada")
    assert world.ebbtide("suppressions", "add", "ann@shop.example", "--reason", "x", "--by", "ada").returncode == 1
    assert len(world.entries()) == 1


def test_a_switch_and_the_one_before_it_are_in_the_audit(world):
    scope = "domain/audited.example"
    reason = ("--reason", "they defer", "--by", "ada")
    assert world.ebbtide("senders", "pause", scope, "--for", "1h", *reason).returncode == 0
    assert world.ebbtide("senders", "resume", scope, "--by", "bob").returncode == 0
    paused, resumed = world.entries("--what", "switch")
    assert (paused["who"], paused["subject"]) == ("ada", f"delivery/{scope}")
    assert (resumed["before"]["why"], resumed["before"]["paused"], resumed["after"]["paused"]) == (
        "they defer",
        True,
        False,
    )


@pytest.fixture
def without_rules(world: AuditWorld, monkeypatch: pytest.MonkeyPatch, topic_prefix: str) -> Iterator[AuditWorld]:
    """The same world, before the first `apply`."""
    monkeypatch.setenv("EBBTIDE_STREAMS_GROUP", f"{topic_prefix}streams")
    new_topics(world.kafka)
    yield world
    new_topics(world.kafka)


def test_the_first_manifest_is_in_the_audit_with_all_that_it_adds(without_rules: AuditWorld, tmp_path: Path):
    world, rule = without_rules, tmp_path / "hello.yaml"
    rule.write_text("trigger: hello\npurpose: marketing\nmode: shadow\non: ping\nsend: hi\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "hi.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    assert world.ebbtide("apply", tmp_path, "--by", "ada").returncode == 0
    rule.write_text(rule.read_text().replace("mode: shadow\n", ""))
    assert world.ebbtide("apply", tmp_path, "--by", "bob").returncode == 0

    first, second = world.entries("--what", "rules")
    assert [(each["what"], each["kind"], each["name"]) for each in first["after"]["changes"]] == [
        ("added", "trigger", "hello"),
        ("added", "template", "hi"),
    ]
    assert [each["what"] for each in second["after"]["changes"]] == ["changed"]
    shown = world.ebbtide("audit", "--what", "rules").stdout
    assert (
        "ada  rules  manifest 1\n    after   rules 1\n    added trigger hello in the set default: mode shadow\n"
        in shown
    )
    assert "    changed trigger hello in the set default: mode shadow → live\n2 changes\n" in shown


def test_a_switch_is_made_although_the_database_is_away_and_is_added_by_the_next_one(world):
    scope = "domain/away.example"
    world.ebbtide("senders", "resume", scope, "--by", "ada")
    done = world.ebbtide(
        "senders", "pause", scope, "--for", "1h", "--reason", "now", "--by", "bob", url=AWAY.format(free_port())
    )
    assert done.returncode == 0
    assert "the audit does not have this yet" in done.stderr
    world.ebbtide("senders", "resume", scope, "--by", "eve")
    about = [each for each in world.entries() if each["subject"] == f"delivery/{scope}"]
    assert [(each["who"], each["after"]["paused"]) for each in about] == [("ada", False), ("bob", True), ("eve", False)]


def test_others_can_write_the_audit_while_the_changes_of_a_topic_are_read(world, monkeypatch):
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", world.url)

    free = []

    def changes() -> Iterator[NumberedChange]:
        with world.connected() as connection:
            free.extend(connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [audit.LOCK]).fetchone() or ())
        yield NumberedChange(3, "bob", "switch", "global", None, {})

    audit_numbered(Environment.of("main"), "control", 3, changes)
    assert free == [True]
    assert [each["after"] for each in world.entries()] == [{"control": 3}]


def test_a_numbered_change_stays_made_although_its_topic_cannot_be_read_back(world, monkeypatch, capsys):
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", world.url)

    def changes() -> Iterator[NumberedChange]:
        yield NumberedChange(3, "bob", "switch", "global", None, {})
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    audit_numbered(Environment.of("main"), "control", 3, changes)
    assert "the audit does not have this yet: Kafka does not answer" in capsys.readouterr().err
    assert world.entries() == []


def test_a_change_of_the_database_is_refused_while_that_is_away(world, tmp_path):
    (tmp_path / "list.jsonl").write_text('{"user_id": "ann"}\n')
    refused = world.ebbtide("import", tmp_path / "list.jsonl", url=AWAY.format(free_port()))
    assert refused.returncode == 2
    assert "does not answer" in refused.stderr
    assert world.ebbtide("import", tmp_path / "list.jsonl").returncode == 0
    began, ended = world.entries("--what", "import")
    assert (began["after"]["file"], ended["what"], ended["after"]["rows"]) == ("list.jsonl", "import finished", 1)


def test_the_audit_is_listed_by_person_kind_and_time(world):
    world.add(60)
    shown = world.ebbtide("audit", "--who", "ada")
    assert shown.stdout.endswith("50 changes; only the 50 newest, --json prints all\n")
    assert len(world.entries("--what", "keys")) == 60
    assert world.entries("--what", "key") == []
    assert world.entries("--who", "nobody") == []
    assert world.entries("--since", datetime.now(UTC).isoformat()) == []
    assert "write 2h" in world.ebbtide("audit", "--since", "soon").stderr


def test_what_was_done_about_a_user_is_found_by_their_id(world):
    for user in ("ann", "bob", "ann"):
        world.ebbtide("privacy", "readmit", user)
    hashed = PersonHasher(ERASURE_KEY.encode())("ann").hex()
    found = world.entries("--user", "ann")
    assert [(each["what"], each["subject"]) for each in found] == [("privacy readmit", f"person {hashed}")] * 2
    assert world.entries("--user", "eve") == []

    with world.connected() as connection:
        audit.add(connection, AuditedChange("ada", "privacy erase", f"person {'0' * 32}, {hashed}"))
        connection.execute("INSERT INTO erasures VALUES (decode(repeat('00', 16), 'hex'), 'another', now())")
    other_key = world.ebbtide("audit", "--user", "ann")
    assert other_key.returncode == 2
    assert "set EBBTIDE_ERASURE_KEY" in other_key.stderr
    world.tamper("DELETE FROM erasures")
    assert len(world.entries("--user", "ann")) == 3


def test_a_change_of_many_people_has_a_row_for_each_also_where_it_fails(world, monkeypatch):
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", world.url)
    people = [f"person {number}" for number in range(7)]
    with pytest.raises(KeyError), audited(Environment.of("main"), "ada", "privacy erase", people):
        raise KeyError
    tried, failed = world.entries("--what", "privacy erase")[:7], world.entries("--what", "privacy erase failed")
    assert [each["subject"] for each in tried] == people
    assert [(each["subject"], each["after"]) for each in failed] == [(each, {"error": "KeyError"}) for each in people]


def test_a_changed_a_missing_and_a_cut_off_row_are_found(world):
    world.add(9)
    end = orjson.loads(world.ebbtide("audit", "verify", "--json").stdout)["end"]
    assert world.ebbtide("audit", "verify", "--against", end).stdout == f"9 rows: whole; the end is {end}\n"

    def problem(statement: str, *arguments: str) -> str:
        world.tamper(statement)
        done = world.ebbtide("audit", "verify", *arguments)
        assert done.returncode == 1
        return done.stdout.strip()

    cut = "DELETE FROM audit_log WHERE number > 7"
    assert problem(cut, "--against", end) == "row 8 is missing: there was a row 9"
    assert world.ebbtide("audit", "verify").returncode == 0
    world.add(2)
    assert problem("SELECT 1", "--against", end) == "row 9 or one before it is not what was kept elsewhere"
    assert problem("DELETE FROM audit_log WHERE number = 5") == "row 5 is missing: the next one is row 6"
    changed = "UPDATE audit_log SET entry = replace(entry, 'ada', 'bob') WHERE number = 3"
    assert problem(changed).startswith("row 3 was changed")


def test_each_end_that_was_kept_is_compared_also_that_of_an_empty_audit(world):
    empty = orjson.loads(world.ebbtide("audit", "verify", "--json").stdout)["end"]
    world.add(2)
    end = orjson.loads(world.ebbtide("audit", "verify", "--json").stdout)["end"]
    both = world.ebbtide("audit", "verify", "--against", empty, "--against", end)
    assert (both.returncode, both.stdout) == (0, f"2 rows: whole; the end is {end}\n")

    another = f"2:{'00' * 32}"
    for ends in ((another, end), (end, another)):
        done = world.ebbtide("audit", "verify", "--against", ends[0], "--against", ends[1])
        assert (done.returncode, done.stdout) == (1, "row 2 or one before it is not what was kept elsewhere\n")
    for wrong in ("2:", "0:00", "-1:" + "00" * 32, "2"):
        assert world.ebbtide("audit", "verify", f"--against={wrong}").returncode == 2


def test_rows_of_the_audit_are_only_added(world):
    world.add(1)
    for statement in ("UPDATE audit_log SET entry = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with world.connected() as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(statement.encode())


def test_many_at_once_make_one_chain(world):
    threads = [threading.Thread(target=world.add, args=[20]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.entries()) == 100
    assert world.ebbtide("audit", "verify").returncode == 0
