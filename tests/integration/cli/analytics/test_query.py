"""`ebbtide query` and `ebbtide psql --analyst` on the seeded programme."""

import csv
import json
from pathlib import Path

import pytest
from drivers.command_line import Done, ebbtide

from cli.analytics.questions import questions
from cli.options import WIDTH_OF_A_LOG

pytestmark = pytest.mark.servers

PERIOD = ("--since", "2026-03-02", "--until", "2026-05-25")


def query(url: str, *arguments: object) -> Done:
    return ebbtide("query", *arguments, EBBTIDE_DATABASE_URL=url)


def test_without_a_name_each_question_has_one_line(seeded_url: str) -> None:
    lines = query(seeded_url).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(questions())
    as_json = [json.loads(line) for line in query(seeded_url, "--json").stdout.splitlines()]
    assert [each["name"] for each in as_json] == list(questions())


def test_an_answer_is_a_table_of_one_trigger(seeded_url: str) -> None:
    done = query(seeded_url, "funnel-by-trigger", *PERIOD, "--trigger", "cart-%")
    assert done.returncode == 0
    head, row, note = done.stdout.splitlines()
    assert head.split()[:2] == ["trigger", "events"]
    assert row.startswith("cart-abandoned")
    assert note == "1 row, 2026-03-02 to before 2026-05-25"


@pytest.mark.parametrize("name", ["experiment", "experiment-by-day", "sample-ratio", "holdout"])
def test_what_needs_all_subjects_begins_with_the_first(seeded_url: str, name: str) -> None:
    """The bounds hold at all times together; with a period that moves they would not."""
    first, moving = (
        json.loads(query(seeded_url, name, "--until", "2026-05-25", "--json", *options).stdout)
        for options in ((), ("--since", "2026-04-25"))
    )
    assert first["since"] < "2026-03-09"
    assert moving["since"] == "2026-04-25"
    assert first["rows"] != moving["rows"]


def test_a_pattern_that_cannot_be_read_is_a_mistake_too(seeded_url: str) -> None:
    done = query(seeded_url, "experiment", "--trigger", "%\\")
    assert (done.returncode, "must not end with escape character" in done.stderr) == (2, True)


def test_without_subjects_and_for_other_questions_the_period_is_30_days(seeded_url: str) -> None:
    for arguments in (("experiment", "--trigger", "none"), ("sends-by-day",)):
        found = json.loads(query(seeded_url, *arguments, "--until", "2026-05-25", "--json").stdout)
        assert found["since"] == "2026-04-25"


def test_csv_and_json_have_the_same_rows(seeded_url: str) -> None:
    as_csv = list(csv.DictReader(query(seeded_url, "funnel", *PERIOD, "--csv").stdout.splitlines()))
    as_json = json.loads(query(seeded_url, "funnel", *PERIOD, "--json").stdout)
    assert [row["stage"] for row in as_csv] == [row["stage"] for row in as_json["rows"]]
    assert as_csv[0]["mails"] == str(as_json["rows"][0]["mails"])
    assert as_json["since"] == "2026-03-02"


def test_a_plot_fits_the_terminal_and_a_picture_is_written(seeded_url: str, tmp_path: Path) -> None:
    file = tmp_path / "sends.png"
    done = query(seeded_url, "sends-by-day", *PERIOD, "--plot", "--png", file)
    assert all(len(line) <= WIDTH_OF_A_LOG for line in done.stdout.splitlines()[:-1])
    assert "▕" in done.stdout
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_setting_changes_the_answer(seeded_url: str) -> None:
    once, twice = (
        json.loads(query(seeded_url, "cost", *PERIOD, "--set", f"price={price}", "--json").stdout)["rows"][0]["cost"]
        for price in (1, 2)
    )
    assert twice == pytest.approx(2 * once, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("funel",), "did you mean funnel?"),
        (("cost", "--set", "price=much"), "question cost: 'much' is no number; its settings: "),
        (("best-hour", "--set", "zone=Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        (("experiment", "--set", "control=blue"), "no variant 'blue'"),
        (("funnel", "--since", "yesterday"), "is no day such as 2026-03-01"),
        (("funnel", "--since", "2026-03-02", "--until", "2026-03-01"), "must be before --until"),
        (("funnel", "--csv", "--json"), "choose one of"),
        (("cost", "--set", "price"), "is no NAME=VALUE"),
    ],
)
def test_a_mistake_is_named_and_is_status_2(seeded_url: str, arguments: tuple[str, ...], message: str) -> None:
    period = () if "--since" in arguments else PERIOD
    done = query(seeded_url, *arguments, *period)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_database_that_is_not_migrated_says_so(empty_database_url: str) -> None:
    done = query(empty_database_url, "funnel", *PERIOD)
    assert done.returncode == 2
    assert "run `ebbtide migrate`" in done.stderr


def test_hostile_values_stay_values(seeded_url: str) -> None:
    hostile = "'; DROP TABLE mails; --"
    done = query(seeded_url, "sends-by-day", *PERIOD, "--trigger", hostile)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 rows, 2026-03-02 to before 2026-05-25")


def test_psql_of_an_analyst_reads_views_and_writes_nothing(seeded_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    read = ("-At", "-c", "SELECT current_user, sum(sends) > 0 FROM sends")
    assert ebbtide("psql", "--analyst", "--", *read, EBBTIDE_DATABASE_URL=seeded_url).returncode == 0
    assert capfd.readouterr().out.strip() == "ebbtide_analyst|t"
    write = ("-c", "CREATE TABLE public.mine (n integer)")
    assert ebbtide("psql", "--analyst", "--", *write, EBBTIDE_DATABASE_URL=seeded_url).returncode == 1
    assert "read-only transaction" in capfd.readouterr().err
