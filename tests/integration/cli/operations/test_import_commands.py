"""`ebbtide import` on a real PostgreSQL: what it keeps, refuses and says, and how it goes on."""

import csv
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers.command_line import Done, ebbtide

from web.profiles import importer
from web.profiles.profile_state import ProfileState, decode

pytestmark = pytest.mark.servers

ROWS = 3_000
MAPS = ("--map", "email=address", "--map", "id=user_id", "--map", "age=age:number")


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """So many rows, every thousandth of them with an address that is none."""
    path = tmp_path / "customers.csv"
    with path.open("w") as lines:
        lines.write("id,email,age,city\n")
        lines.writelines(
            f"u{number},{'nobody' if number % 1_000 == 7 else f'u{number}@shop.example'},{number % 90},Rome\n"
            for number in range(ROWS)
        )
    return path


def run(url: str, *arguments: object) -> Done:
    return ebbtide("import", *arguments, EBBTIDE_DATABASE_URL=url)


def summary(url: str, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(url, *arguments, "--json").stdout)
    return found


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def state(url: str, user_id: str) -> ProfileState:
    with psycopg.connect(url) as connection:
        [[text]] = connection.execute("SELECT state::text FROM profiles WHERE user_id = %s", [user_id]).fetchall()
    return decode(text)


def test_rows_become_profiles_and_are_put_into_the_outbox(url: str, file: Path) -> None:
    done = run(url, file, *MAPS, "--source", "crm")
    assert done.returncode == 1, done.stderr
    assert "id → user_id" in done.stdout
    assert f"{ROWS:,} rows imported, {ROWS - 3:,} profiles changed, 3 refused" in done.stdout
    assert "line 9: address: not a plain mail address" in done.stdout

    found = state(url, "u42")
    assert (found.values["address"].value, found.values["address"].source) == ("u42@shop.example", "crm")
    assert {name: stamp.value for name, stamp in found.attributes.items()} == {"age": 42, "city": "Rome"}
    assert rows(url, "SELECT count(DISTINCT user_id), count(*) FROM web_outbox") == [(ROWS - 3, ROWS - 3)]
    with file.with_name("customers.csv.refused.csv").open() as refused:
        assert [row["line"] for row in csv.DictReader(refused)] == ["9", "1009", "2009"]


def test_the_same_file_again_is_done_and_another_mapping_is_another_import(url: str, file: Path) -> None:
    first = summary(url, file, *MAPS)
    again = summary(url, file, *MAPS)
    assert (again["import"], again["rows"], again["rows_before"]) == (first["import"], ROWS, ROWS)
    assert "imported already" in run(url, file, *MAPS).stdout
    assert rows(url, "SELECT count(*) FROM web_outbox") == [(ROWS - 3,)]
    other = summary(url, file, *MAPS, "--map", "city=town")
    assert (other["import"] != first["import"], other["changed"]) == (True, ROWS - 3)


@pytest.mark.parametrize("how", [KeyboardInterrupt, psycopg.OperationalError])
def test_an_import_that_was_interrupted_goes_on_where_it_was(
    url: str, file: Path, how: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH", 250)
    write, written = importer.ProfileImport.write, 0

    def interrupted(self: importer.ProfileImport, *arguments: Any) -> importer.ImportProgress:
        nonlocal written
        written += 1
        if written == 6:
            raise how("now")
        return write(self, *arguments)

    monkeypatch.setattr(importer.ProfileImport, "write", interrupted)
    done = run(url, file, *MAPS)
    assert done.returncode == (130 if how is KeyboardInterrupt else 2)
    assert rows(url, "SELECT rows, refused FROM profile_imports") == [(1_250, 2)]

    found = summary(url, file, *MAPS)
    assert (found["rows_before"], found["rows"], found["changed"], found["refused"]) == (1_250, ROWS, ROWS - 3, 3)
    assert rows(url, "SELECT count(*) FROM web_outbox") == [(ROWS - 3,)]
    with file.with_name("customers.csv.refused.csv").open() as refused:
        assert [row["line"] for row in csv.DictReader(refused)] == ["9", "1009", "2009"]


def test_imported_values_merge_by_their_time_with_what_is_known(url: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [
        {"user_id": "u1", "time": "2026-01-02T00:00:00Z", "city": "Rome"},
        {"user_id": "u1", "time": "2026-01-01T00:00:00Z", "city": "Oslo", "plan": "gold"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert summary(url, path)["changed"] == 1
    older = {"user_id": "u1", "time": "2025-01-01T00:00:00Z", "city": "Bern", "zone": "Europe/Rome"}
    path.write_text(json.dumps(older))
    assert summary(url, path)["changed"] == 1
    found = state(url, "u1")
    assert {name: stamp.value for name, stamp in found.attributes.items()} == {"city": "Rome", "plan": "gold"}
    assert found.values["zone"].value == "Europe/Rome"


def test_a_refusal_counts_also_of_a_row_that_makes_its_profile_too_large(url: str, tmp_path: Path) -> None:
    """One that meets the rest of its user in the same batch, and one that meets it in the store."""
    time = "2026-11-29T09:00:00Z"
    fill = [{"user_id": user, "time": time, "attributes": {"fill": "x" * 199_000}} for user in ("u1", "u2")]
    no = {"granted": False, "time": time}
    more = {"time": time, "attributes": {"more": "x" * 2_000}, "consent": {"news": no}}
    (tmp_path / "first.jsonl").write_text("\n".join(map(json.dumps, [*fill, {"user_id": "u1", **more}])))
    (tmp_path / "second.jsonl").write_text(json.dumps({"user_id": "u2", **more}))
    assert [summary(url, tmp_path / name)["refused"] for name in ("first.jsonl", "second.jsonl")] == [1, 1]
    for user in ("u1", "u2"):
        found = state(url, user)
        assert (set(found.attributes), found.consent["news"].refused) == ({"fill"}, True)


def test_a_dry_run_needs_no_database_and_changes_none(file: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    found = summary(away, file, *MAPS, "--dry-run")
    assert (found["dry_run"], found["rows"], found["refused"], found["changed"]) == (True, ROWS, 3, None)


def test_parquet_rows_are_imported(url: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.table({"user_id": ["u1", "u2"], "age": [42, None]}), path)
    assert summary(url, path)["changed"] == 1
    assert state(url, "u1").attributes["age"].value == 42


def test_what_a_person_can_put_right_is_said_in_one_line(url: str, file: Path, database_url: str) -> None:
    done = run(url, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no column is user_id: name it with --map COLUMN=user_id" in done.stderr
    rows_of_no_table = run(database_url.rsplit("/", 1)[0] + "/postgres", file, *MAPS)
    assert (rows_of_no_table.returncode, "ebbtide migrate" in rows_of_no_table.stderr) == (2, True)
