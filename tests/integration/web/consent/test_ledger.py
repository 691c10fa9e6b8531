"""The ledger of consent in PostgreSQL: what is written, proven, forgotten, and what a change to it leads to."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
from drivers.command_line import Done, ebbtide

from infra.postgres.migrate import migrate
from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRecord, ProfileRemoval
from schemas.profiles import Consent, Profile
from schemas.vocabulary import Evidence, OutcomeKind
from web.consent import ledger, tables
from web.consent.ledger import ConsentRecord
from web.consent.signed_heads import HeadKeys
from web.profiles import profile_state
from web.profiles.once_reader import Place

pytestmark = pytest.mark.servers

SEED = "ab" * 32
KEYS = HeadKeys([SEED])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LedgerWorld:
    """A ledger in a database, records for it, and the command line."""

    def __init__(self, url: str) -> None:
        self.url, self.offset = url, 0

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            yield connection

    def place(self, partition: int = 0) -> Place:
        self.offset += 1
        return Place(partition, self.offset, self.offset * 1_000_000)

    def write(self, *records: ProfileRecord | Outcome, partition: int = 0) -> None:
        with self.connected() as connection:
            ledger.write(connection, [ConsentRecord(each, self.place(partition)) for each in records])

    def sign(self) -> int:
        with self.connected() as connection:
            return len(ledger.sign_heads(connection, KEYS, timedelta()))

    def query(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connected() as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def tamper(self, statement: str) -> None:
        """What somebody does who may do everything in the database."""
        with self.connected() as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement.encode())

    def ebbtide(self, *arguments: object) -> Done:
        return ebbtide("consent", *arguments, EBBTIDE_DATABASE_URL=self.url, EBBTIDE_CONSENT_KEYS=json.dumps([SEED]))

    def problems(self, *arguments: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = orjson.loads(self.ebbtide("verify", *arguments, "--json").stdout)["problems"]
        return found


@pytest.fixture
def world(database_url) -> LedgerWorld:
    migrate(database_url)
    return LedgerWorld(database_url)


def profile(user: str, granted: bool = True, second: int = 1) -> Profile:
    time = EPOCH + timedelta(seconds=second)
    return Profile(
        user_id=user, consent={"marketing": Consent(granted=granted, time=time, method="form", text_version="7")}
    )


def unsubscribed(user: str, second: int) -> Outcome:
    return Outcome(
        id=f"{user}{second}",
        command_id="c",
        user_id=user,
        purpose="marketing",
        kind=OutcomeKind.UNSUBSCRIBED,
        time=EPOCH + timedelta(seconds=second),
        evidence=Evidence.ONE_CLICK,
    )


def test_consents_are_proven_from_the_command_line_and_checked_without_a_server(world, tmp_path):
    world.write(profile("ann"), profile("bob"), profile("ann"))
    world.write(unsubscribed("ann", 3), partition=2)
    assert world.sign() == 2
    world.write(profile("ann", False, 5))
    file = tmp_path / "ann.json"

    shown = world.ebbtide("prove", "ann", "--out", file)
    assert shown.returncode == 0, shown.stderr
    assert "1970-01-01T00:00:01Z  granted    marketing  (form, text 7, by profiles, profiles[0]@1)" in shown.stdout
    assert "1970-01-01T00:00:03Z  withdrawn  marketing  (one_click, text -, by outcomes, outcomes[2]@4)" in shown.stdout
    assert "1 consent in no head yet" in shown.stdout
    assert file.stat().st_mode & 0o777 == 0o600

    [key] = KEYS.public_texts().values()
    checked = ebbtide("consent", "verify", "--proof", file, "--key", key, EBBTIDE_DATABASE_URL="postgresql://nowhere/x")
    assert checked.returncode == 0, checked.stderr
    assert "2 consents proven; 1 in no head yet" in checked.stdout
    file.write_bytes(file.read_bytes().replace(b'"granted"', b'"lifted"', 1))
    forged = ebbtide("consent", "verify", "--proof", file, "--key", key)
    assert (forged.returncode, forged.stdout) == (1, "")
    assert "not proven: entry 0: its row says something else" in forged.stderr


def test_a_consent_names_the_source_that_the_store_of_profiles_knows(world):
    patch = profile("ann").consent["marketing"]
    state = profile_state.of_patch(
        profile_state.ProfilePatch("ann", 1_000_000, "shop-backend", consent={"marketing": patch})
    )
    with world.connected() as connection:
        connection.execute("INSERT INTO profiles VALUES ('ann', 1, %s::json)", [profile_state.encode(state)])
    world.write(profile("ann"))
    assert "by shop-backend" in world.ebbtide("prove", "ann").stdout


def test_one_changed_row_is_found_and_named(world, tmp_path):
    world.write(*(profile(f"user {number}") for number in range(20)))
    world.write(*(profile(f"more {number}") for number in range(20)), partition=5)
    world.sign()
    heads = tmp_path / "heads.jsonl"
    heads.write_text(world.ebbtide("heads", "--json").stdout)
    whole = world.ebbtide("verify", "--against", heads)
    assert (whole.returncode, whole.stdout) == (0, "40 rows in 2 chains, 2 heads: whole\n")

    world.tamper("UPDATE consent_entries SET seen_at = seen_at + interval '1 day' WHERE partition = 5 AND number = 7")
    found = world.ebbtide("verify")
    assert found.returncode == 1
    assert "partition 5: row 7 was changed: its hash is not that of its content" in found.stdout


def test_a_chain_that_was_written_anew_is_found_by_heads_kept_elsewhere(world, tmp_path):
    world.write(*(profile(f"user {number}") for number in range(5)))
    world.sign()
    heads = tmp_path / "heads.jsonl"
    heads.write_text(world.ebbtide("heads", "--json").stdout)
    world.tamper("DELETE FROM consent_entries")
    world.tamper("DELETE FROM consent_heads")
    world.tamper("DELETE FROM consent_chains")
    world.tamper("DELETE FROM consent_people")
    world.write(*(profile(f"another {number}") for number in range(6)))
    world.sign()
    assert world.problems() == []
    [problem] = world.problems("--against", heads)
    assert (problem["partition"], problem["row"]) == (0, None)
    assert "one of the rows 0 to 4 is not what was signed" in problem["what"]


def test_a_proof_of_rows_that_were_changed_is_refused(world):
    world.write(profile("ann"), profile("bob"))
    world.sign()
    world.tamper("UPDATE consent_entries SET leaf = decode(repeat('00', 32), 'hex') WHERE number = 1")
    refused = world.ebbtide("prove", "ann")
    assert refused.returncode == 2
    assert (
        "the rows of partition 0 are not those that were signed; `ebbtide consent verify` shows where" in refused.stderr
    )


@pytest.mark.parametrize("change", ["UPDATE {} SET partition = 1", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["consent_entries", "consent_heads"])
def test_rows_are_only_added(world, table, change):
    world.write(profile("ann"))
    world.sign()
    with world.connected() as connection, pytest.raises(psycopg.errors.RestrictViolation, match="only added"):
        connection.execute(change.format(table).encode())


def test_after_an_erasure_the_chain_is_whole_and_points_to_nobody(world):
    world.write(profile("ann"), profile("bob"), profile("ann", False, 2))
    world.sign()
    with world.connected() as connection:
        assert tables.forget(connection, ["ann"]) == 1
    assert world.problems() == []
    gone = world.ebbtide("prove", "ann")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "has nothing of ann, or nothing that can be read any more" in gone.stderr
    assert world.ebbtide("prove", "bob").returncode == 0
    rows = world.query(
        """SELECT to_jsonb(e)::text || (SELECT coalesce(jsonb_agg(p), '[]')::text FROM consent_people p)
           FROM consent_entries e"""
    )
    assert len(rows) == 3
    assert not any("ann" in text for (text,) in rows)


def test_removing_a_user_keeps_the_proof_of_their_consent(world):
    world.write(profile("ann"), ProfileRemoval("ann"))
    shown = world.ebbtide("prove", "ann").stdout
    assert "granted" in shown
    assert "profile_removed" in shown


def test_heads_are_signed_at_most_once_an_hour_and_only_of_chains_that_grew(world):
    def sign() -> int:
        with world.connected() as connection:
            return len(ledger.sign_heads(connection, KEYS))

    world.write(profile("ann"))
    world.write(profile("bob"), partition=1)
    assert sign() == 2
    world.write(profile("eve"))
    assert sign() == 0
    world.tamper("UPDATE consent_heads SET signed_at = signed_at - interval '61 minutes'")
    assert sign() == 1


def test_growth_since_heads_kept_before_is_part_of_a_proof_and_checked_with_it(world, tmp_path):
    world.write(profile("ann"), profile("bob"), profile("eve"))
    world.sign()
    heads, file = tmp_path / "heads.jsonl", tmp_path / "ann.json"
    heads.write_text(world.ebbtide("heads", "--json").stdout)
    world.write(profile("dan"))
    world.sign()
    shown = world.ebbtide("prove", "ann", "--since", heads, "--out", file)
    line = "only grew since the head of partition 0: 3 rows"
    assert line in shown.stdout
    assert line in world.ebbtide("verify", "--proof", file).stdout
    [grown] = orjson.loads(file.read_bytes())["grown"]
    assert grown["from"]["size"] == 3

    file.write_bytes(file.read_bytes().replace(grown["consistency"][0].encode(), b"00" * 32))
    forged = world.ebbtide("verify", "--proof", file)
    assert (forged.returncode, forged.stdout) == (1, "")
    assert "not proven: growth 0: the older head is not the beginning" in forged.stderr


@pytest.mark.parametrize("now", [1, 2, 5])
def test_no_growth_is_proven_since_a_head_that_does_not_hold_any_more(world, tmp_path, now):
    world.write(profile("ann"), profile("bob"))
    world.sign()
    heads = tmp_path / "heads.jsonl"
    heads.write_text(world.ebbtide("heads", "--json").stdout)
    for table in ("entries", "heads", "chains", "people"):
        world.tamper(f"DELETE FROM consent_{table}")
    world.write(*(profile("ann", second=second + 1) for second in range(now)))
    world.sign()
    refused = world.ebbtide("prove", "ann", "--since", heads)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "partition 0 does not begin with the 2 rows of the head that was kept" in refused.stderr
