"""Whoever was erased after a backup is erased again when it is restored, and the ledger of consent stays whole."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import pytest
from drivers.command_line import Done, ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from infra.postgres.migrate import migrate
from schemas.people import PersonHasher
from schemas.profiles import Consent, Profile
from web.consent import ledger
from web.consent.ledger import ConsentRecord
from web.profiles import erasures
from web.profiles.once_reader import Place

pytestmark = pytest.mark.servers

KEY = "a key of erasures, of the tests"


def test_people_erased_after_a_backup_are_erased_again(servers: RealServers, database_url: str, tmp_path: Path) -> None:
    have_topics(servers.kafka)
    migrate(database_url)

    def run(*arguments: object, key: str = KEY) -> Done:
        return ebbtide(
            *arguments, EBBTIDE_KAFKA=servers.kafka, EBBTIDE_DATABASE_URL=database_url, EBBTIDE_ERASURE_KEY=key
        )

    now = datetime.now(UTC)
    consent = {"marketing": Consent(granted=True, time=now, method="form", text_version="7")}
    with psycopg.connect(database_url) as connection:
        said = [Profile(user_id=user, consent=consent) for user in ("ann", "bob")]
        ledger.write(connection, [ConsentRecord(each, Place(0, 0, 1)) for each in said])
    assert run("backup", "--to", tmp_path / "older", "--erasures-only").returncode == 0
    assert run("backup", "--to", tmp_path / "backup").returncode == 0
    with psycopg.connect(database_url) as connection:
        erasures.remember(connection, PersonHasher(KEY.encode()), ["ann"], now)
    assert run("backup", "--to", tmp_path / "erased", "--erasures-only").returncode == 0
    servers.drop_database(database_url)
    servers.create_database(database_url.rpartition("/")[2])

    refused = run("restore", tmp_path / "erased")
    assert (refused.returncode, "only a list of erased people" in refused.stderr) == (2, True)
    older = run("restore", tmp_path / "backup", "--erasures", tmp_path / "older")
    assert (older.returncode, "no list of erased people that is newer" in older.stderr) == (2, True)
    other = run("restore", tmp_path / "backup", "--erasures", tmp_path / "erased", key="another key")
    assert (other.returncode, "under another key" in other.stderr) == (2, True)
    restored = run("restore", tmp_path / "backup", "--erasures", tmp_path / "erased", "--json")
    assert restored.returncode == 0, restored.stderr
    assert orjson.loads(restored.stdout)["erased"] == 1
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT user_id FROM consent_people").fetchall() == [("bob",)]
    assert run("consent", "verify").returncode == 0
    assert run("consent", "prove", "ann").returncode == 1
    assert run("consent", "prove", "bob").returncode == 0
    assert "restore" in run("audit").stdout
