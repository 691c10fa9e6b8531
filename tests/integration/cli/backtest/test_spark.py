"""`ebbtide backtest --engine spark` gives, byte for byte, what the native engine gives for the same log."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import orjson
import pytest
from drivers.backtest_histories import (
    BAD_LINES,
    CONSENT,
    OLD_RULES,
    RULES,
    START,
    event_at,
    events,
    job_of,
    outcomes,
    profiles,
    texts,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyarrow import Table, map_, parquet, string
from pyarrow import array as arrow_array
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.backtest.job import BUCKETS, BacktestJob
from cli.backtest.page import page
from cli.backtest.run import BacktestRun, run_backtest
from cli.backtest.spark.run import places_of, read_timeline_on_spark, run_on_spark
from cli.backtest.timeline import read_timeline
from cli.main import app
from cli.rules.log_blocks import MAX_LINE_BYTES
from cli.step_printer import StepPrinter
from schemas.codec import encode
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from triggers.cases.backtest import TimedProfile
from triggers.cel.runtime import as_time

for package in ("pyspark", "pandas"):
    pytest.importorskip(package, reason=f"{package} is not installed: .venv/bin/pip install 'pandas<3' pyspark==4.3.0")

SPLIT_BYTES = 20_000
QUIET = StepPrinter(Console(file=None, quiet=True))


@pytest.fixture(scope="module", autouse=True)
def spark() -> Iterator[None]:
    """Spark in this process on two cores. It cuts even short files into splits, and keeps small partitions."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.files.maxPartitionBytes", SPLIT_BYTES)
        .config("spark.sql.files.openCostInBytes", 1)
        .config("spark.sql.shuffle.partitions", 3)
        .config("spark.sql.adaptive.enabled", "false")
        .getOrCreate()
    )
    yield
    session.stop()


def natively(job: BacktestJob, buckets: int | None = None) -> tuple[BacktestRun, bytes]:
    decisions = BytesIO()
    return run_backtest(job, QUIET, decisions, processes=0, buckets=buckets), decisions.getvalue()


def on_spark(job: BacktestJob) -> tuple[BacktestRun, bytes]:
    decisions = BytesIO()
    places = (None if path is None else str(path) for path in (job.events, job.profiles, job.outcomes))
    return run_on_spark(places_of(*places), job, QUIET, decisions), decisions.getvalue()


def summary(run: BacktestRun) -> bytes:
    return orjson.dumps(run.summary(), option=orjson.OPT_INDENT_2)


def history() -> list[Event]:
    """600 events of 50 users."""
    kinds = ("ping", "view", "buy", "view", "unread")
    return [
        Event(id=f"e{n}", type=kinds[n * 3 % 5], user_id=f"u{n * 7 % 50}", time=as_time(START + n * 977_000))
        for n in range(600)
    ]


PEOPLE: list[TimedProfile] = [(None, Profile(user_id=f"u{n}", consent=CONSENT)) for n in range(60)]


@settings(max_examples=4, phases=(Phase.generate,), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(events, max_size=40),
    st.none() | st.lists(profiles, max_size=8),
    st.none() | st.lists(outcomes, max_size=6, unique_by=lambda each: each.id),
    st.none() | st.sampled_from([START, START + 50_000_000]),
)
def test_drawn_histories_give_the_native_decisions_and_figures(
    tmp_path: Path,
    log: list[Event],
    people: list[TimedProfile] | None,
    told: list[Outcome] | None,
    until_ms: int | None,
) -> None:
    job = job_of(tmp_path, log, people, told, until_ms=until_ms)
    native, decisions = natively(job)
    spark, their_decisions = on_spark(job)
    assert their_decisions == decisions
    assert summary(spark) == summary(native)
    assert spark.result == native.result


def test_old_rules_are_compared_with_new_ones_and_shown_on_the_same_page(tmp_path: Path) -> None:
    job = replace(job_of(tmp_path, history(), PEOPLE, []), sets=(texts(OLD_RULES), texts(RULES)))
    native, decisions = natively(job)
    spark, their_decisions = on_spark(job)
    assert native.comparison is not None
    assert native.comparison.users.total() == 60
    assert their_decisions == decisions
    assert summary(spark) == summary(native)
    assert page(spark, job) == page(native, job)


def test_one_user_has_the_native_timeline(tmp_path: Path) -> None:
    job = replace(job_of(tmp_path, history(), PEOPLE, []), user="u7")
    places = places_of(*map(str, (job.events, job.profiles, job.outcomes)))
    assert read_timeline_on_spark(places, job, "u7", QUIET) == read_timeline(job, "u7", QUIET)


def lines_of(log: list[Event]) -> list[bytes]:
    return [encode(each) + b"\n" for each in log]


@pytest.mark.parametrize("packed", [False, True])
def test_bad_lines_are_reported_by_kind_and_first_place_as_natively(tmp_path: Path, packed: bool) -> None:
    lines, bad = lines_of(history()), dict(BAD_LINES)
    if packed:
        bad["not an event"] = [b"x" * (MAX_LINE_BYTES + 1) + b"\n"]
    else:
        del bad["not an event"]  # such a line is cut into a hundred splits
    for number, line in enumerate(line for kind in bad.values() for line in kind):
        lines.insert(number * 30 + 4, line)
    raw = b"\xef\xbb\xbf" + b"".join(lines).replace(b"}\n{", b"}\r\n\n{") + b'{"id": "the end is missing'
    log = tmp_path / ("log.jsonl.gz" if packed else "log.jsonl")
    log.write_bytes(gzip.compress(raw) if packed else raw)
    job = replace(job_of(tmp_path, [], None, None), events=log)
    native, decisions = natively(job, BUCKETS)
    spark, their_decisions = on_spark(job)
    assert {each.kind for each in native.skipped} == bad.keys()
    assert summary(spark) == summary(native)
    assert their_decisions == decisions
    strict = replace(job, strict=True)
    with pytest.raises(Exception, match="not an event") as natural:
        natively(strict)
    with pytest.raises(Exception, match="not an event") as sparks:
        on_spark(strict)
    assert str(sparks.value) == str(natural.value)


def test_a_folder_of_files_gives_what_one_file_of_all_lines_gives(tmp_path: Path) -> None:
    lines, parts = lines_of(history()), tmp_path / "parts"
    parts.mkdir()
    for number in range(4):
        part = b"".join(lines[number * 150 : number * 150 + 150])
        if number == 2:
            (parts / f"part-{number}.jsonl.gz").write_bytes(gzip.compress(part))
        else:
            (parts / f"part-{number}.jsonl").write_bytes(part)
    (parts / "_SUCCESS").touch()
    job = job_of(tmp_path, history(), None, None)
    native, decisions = natively(job, BUCKETS)
    for place in (str(parts), f"{parts}/part-*", parts.as_uri()):
        decided = BytesIO()
        spark = run_on_spark(places_of(place, None, None), job, QUIET, decided)
        assert decided.getvalue() == decisions
        assert summary(spark) == summary(native)


def test_a_bad_line_in_a_folder_is_named_with_its_own_file(tmp_path: Path) -> None:
    parts = tmp_path / "some parts [2]"
    parts.mkdir()
    lines = lines_of(history())
    (parts / "a.jsonl").write_bytes(b"".join(lines[:100]))
    (parts / "b.jsonl").write_bytes(b"".join(lines[100:140]) + b"oops\n")
    job = replace(job_of(tmp_path, [], None, None), events=parts)
    spark, _ = on_spark(job)
    assert [each.place for each in spark.skipped] == [f"{parts}/b.jsonl:41"]
    assert spark.result.extent.events == 140


@pytest.mark.parametrize("properties", ["text", "struct", "map"])
def test_parquet_gives_what_it_gives_natively(tmp_path: Path, properties: str) -> None:
    rows = [
        {"id": each.id, "type": each.type, "user_id": each.user_id, "time": each.time, "source": None}
        for each in history()
    ]
    rows[70]["type"] = None
    columns = Table.from_pylist(rows)
    values = {
        "text": arrow_array(['{"n": 1}'] * len(rows)),
        "struct": arrow_array([{"n": n % 3, "m": None if n % 2 else "x"} for n in range(len(rows))]),
        "map": arrow_array([[("n", n % 3)] for n in range(len(rows))], map_(string(), "int64")),
    }
    parquet.write_table(
        columns.append_column("properties", values[properties]), tmp_path / "log.parquet", row_group_size=37
    )
    job = replace(job_of(tmp_path, [], None, None), events=tmp_path / "log.parquet")
    native, decisions = natively(job)
    spark, their_decisions = on_spark(job)
    assert [each.place for each in native.skipped] == [f"{tmp_path}/log.parquet:71"]
    assert summary(spark) == summary(native)
    assert their_decisions == decisions


def run(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["backtest", str(folder), "--engine", "spark", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rule.yaml").write_text("trigger: hello\npurpose: marketing\non: ping\nsend: hello\n")
    (tmp_path / "log.jsonl").write_bytes(event_at("2026-01-05T10:00:00Z") * 40)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.jsonl", None, "nowhere.jsonl: Spark cannot read it"),
        ("log.jsonl.gz", gzip.compress(event_at("2026-01-05T10:00:00Z") * 9)[:-12], "log.jsonl.gz"),
        ("log.jsonl", event_at("2026-01-05T10:00:00Z").decode().encode("utf-16"), "log.jsonl:1: the log is UTF-16"),
        ("log.parquet", b"PAR1 no", "log.parquet: "),
        ("log.jsonl", b"oops\n", "log.jsonl:1: not an event"),
        ("_log.jsonl", b"", "_log.jsonl: there is no file; Spark passes over names that begin with . or _"),
    ],
)
def test_what_cannot_be_read_is_named(folder: Path, name: str, content: bytes | None, message: str) -> None:
    place = folder / "logs" / name
    place.parent.mkdir()
    if content is not None:
        place.write_bytes(content)
    for read in (place, place.parent / "*"):
        done = run(folder, "--events", read)
        assert done.exit_code != 0
        assert message in str(done.exception) or read != place, done.exception


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--events", "-"), "--events: Spark cannot read standard input; name a file or a folder"),
        (("--events", "log.jsonl", "--processes", "2"), "--processes: with --engine spark, spark.master says how many"),
        (("--events", "log.jsonl", "--user", "nobody"), "--user: nobody has no event in log.jsonl"),
    ],
)
def test_an_option_that_spark_cannot_take_is_named_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    assert message in str(run(folder, *arguments).exception)


def test_files_of_two_kinds_are_no_log(folder: Path) -> None:
    parquet.write_table(Table.from_pylist([{"id": "1"}]), folder / "log.parquet")
    assert "1 of its 2 files end in .parquet" in str(run(folder, "--events", f"{folder}/log.*").exception)


def test_the_command_starts_spark_by_its_own_settings_and_prints_what_it_prints_natively(folder: Path) -> None:
    command = [sys.executable, "-m", "cli.main", "backtest", str(folder), "--events", str(folder / "log.jsonl")]
    settings_of_spark = {"PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell"}
    printed = [
        subprocess.run(
            [*command, *more], env=os.environ | settings_of_spark, capture_output=True, text=True, check=True
        ).stdout
        for more in (["--json"], ["--json", "--engine", "spark"])
    ]
    assert printed[0] == printed[1]
    assert json.loads(printed[1].splitlines()[-1])["summary"]["events"] == 40
