"""`ebbtide backtest`: any log of events, as tables, a chart and lines of JSON."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from drivers.backtest_histories import BAD_LINES, event_at
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import Table
from pyarrow import parquet as pyarrow_parquet
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.backtest.run import run_in_memory
from cli.backtest.tables import show_backtest
from cli.main import app
from cli.rules.chart import HEIGHT, LABEL, columns
from cli.rules.event_log import LogReader
from cli.rules.rule_folder import read_folder
from schemas.codec import decode, encode
from schemas.decisions import Decision
from schemas.events import Event

RULE = "trigger: hello\npurpose: marketing\non: ping\nkey: user.id\ncap: {max: 1, per: 1d}\nsend: hello\n"
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rule.yaml").write_text(RULE)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "hello.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    return tmp_path


def log_of(days: list[int]) -> bytes:
    """A log in which user N pings on day N, and twice on the last."""
    events = [
        Event(id=f"e{n}", type="ping", user_id=f"u{day}", time=START + timedelta(days=day, minutes=n), properties={})
        for n, day in enumerate([*days, days[-1]])
    ]
    return b"\n".join(encode(event) for event in events) + b"\n\n"


def run(folder: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["backtest", str(folder), *map(str, arguments)], input=stdin)


def test_the_chart_shows_the_sends_of_each_day(folder: Path) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0, 0, 1, 3]))
    done = run(folder, "--events", log)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Sends a day, 2026-01-05 to 2026-01-08"
    assert lines[1] == "        1 ┤██ █"
    assert lines[8] == "        0 ┤██ █"
    assert "2026-W02" in done.stdout
    assert "cap" in done.stdout


def test_json_is_a_line_for_each_decision_and_a_summary(folder: Path) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0, 2]))
    lines = run(folder, "--events", log, "--json").stdout.splitlines()
    decisions = [decode(Decision, line.encode()) for line in lines[:-1]]
    summary = json.loads(lines[-1])["summary"]
    assert [(each.user_id, each.outcome.value, each.reason) for each in decisions] == [
        ("u0", "send", None),
        ("u2", "send", None),
        ("u2", "drop", "cap"),
    ]
    assert summary["sends_by_day"] == {"2026-01-05": 1, "2026-01-07": 1}
    assert sum(each["count"] for each in summary["decisions"]) == len(decisions)


def test_a_log_may_be_gzip_or_standard_input(folder: Path) -> None:
    raw = log_of([0, 1])
    packed = folder / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(raw))
    from_gzip = run(folder, "--events", packed, "--json").stdout
    from_stdin = run(folder, "--events", "-", "--json", stdin=raw).stdout
    assert from_gzip == from_stdin
    assert from_gzip.count("\n") == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", log_of([0]) + b"{}\n", "log.jsonl:4: not an event: id"),
        ("log.jsonl", b"\xff\n", "log.jsonl:1: not an event: not UTF-8 at byte 1 of the line"),
        ("log.jsonl", log_of([0]).decode().encode("utf-16"), "log.jsonl:1: the log is UTF-16; save it as UTF-8"),
        ("log.jsonl", log_of([0]).decode().encode("utf-16-be"), "log.jsonl:1: the log is UTF-16; save it as UTF-8"),
        ("log.jsonl", gzip.compress(log_of([0])), "log.jsonl:1: the log is gzip; give it a name that ends in .gz"),
        ("log.jsonl.gz", b"plain", "log.jsonl.gz:1: not a whole gzip file"),
        ("log.jsonl.gz", gzip.compress(log_of([0]))[:-12], "not a whole gzip file"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    assert message in str(run(folder, "--events", folder / name, "--strict").exception)


@pytest.mark.parametrize("kind", BAD_LINES)
def test_lines_that_are_not_events_are_skipped_and_counted_by_kind_with_the_first_place(
    folder: Path, kind: str
) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0]) + b"".join(BAD_LINES[kind]) + event_at("2026-01-05T10:00:00-11:30", 7))
    done = run(folder, "--events", log, "--json")
    assert done.exit_code == 0, done.exception
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    [skipped] = summary["skipped"]
    assert summary["events"] == 3
    assert (skipped["kind"], skipped["count"], skipped["place"]) == (kind, len(BAD_LINES[kind]), f"{log}:4")
    output = run(folder, "--events", log).stdout
    assert f"skipped: {kind}, first {log}:4: " in output


def test_many_bad_lines_are_reported_once_for_each_kind(folder: Path) -> None:
    log = folder / "log.jsonl"
    broken = [json.dumps({"id": n, "user_id": "u", f"field{n}": n}) for n in range(500)]
    log.write_bytes(log_of([0]) + "\n".join([*broken, *["oops"] * 500]).encode())
    skipped = [line for line in run(folder, "--events", log).stdout.splitlines() if "skipped:" in line]
    assert [line.strip().partition(",")[0] for line in skipped] == [
        "500 lines skipped: not an event (id",
        "500 lines skipped: not JSON",
    ]


def test_a_log_with_a_byte_order_mark_and_windows_line_ends_is_read(folder: Path) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(b"\xef\xbb\xbf" + log_of([0, 1]).replace(b"\n", b"\r\n"))
    summary = json.loads(run(folder, "--events", log, "--json").stdout.splitlines()[-1])["summary"]
    assert (summary["events"], summary["skipped"]) == (3, [])


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00Z", "2200-12-31T23:59:59Z", 1767614400, 1767614400000])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Niue"])
def test_every_year_that_a_log_may_have_is_played(folder: Path, time: object, zone: str) -> None:
    monthly = "on: [ping, {every: month, day: last, at: '23:59', zone: ZONE}, {event: ping, within: 400d, reaches: 1}]"
    (folder / "rule.yaml").write_text(RULE.replace("on: ping", monthly.replace("ZONE", zone)) + "after: 400d\n")
    done = run(folder, "--events", "-", stdin=event_at(time))
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("rules", [1, 8, 60])
def test_tables_show_every_name_and_figure_whole_for_any_number_of_rules(folder: Path, rules: int) -> None:
    names, log = many(folder, rules)
    shown = StringIO()
    run = run_in_memory(read_folder(folder).load(), LogReader(log).events())
    show_backtest(Console(file=shown, width=80, highlight=False), run)
    each_has_98_sends(names, shown.getvalue().splitlines())
    assert all(len(line) <= 80 or line.endswith(tuple(names)) for line in shown.getvalue().splitlines())
    assert "nobody opens, clicks or unsubscribes, and no reservation is given back" in " ".join(
        shown.getvalue().split()
    )


@pytest.mark.parametrize("columns", ["80", None])
def test_output_has_the_configured_width_and_no_table_is_wider_than_80_columns(
    folder: Path, columns: str | None
) -> None:
    names, log = many(folder, 8)
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "backtest", str(folder), "--events", str(log)],
        env=environment | ({"COLUMNS": columns} if columns else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    each_has_98_sends(names, lines)
    wide = [line for line in lines if len(line) > 80 and not line.endswith(tuple(names))]
    assert [line for line in wide if columns or not ("note:" in line or "┤" in line or "events of" in line)] == []


def many(folder: Path, rules: int) -> tuple[list[str], Path]:
    """Rules with names of every length, and the log of more weeks than a line has columns."""
    names = [f"rule-{n}-" + "x" * (n * 7 % 100) for n in range(rules)]
    (folder / "rule.yaml").write_text("---\n".join(RULE.replace("hello\np", f"{name}\np") for name in names))
    log = folder / "log.jsonl"
    log.write_bytes(log_of([*range(60), *range(60, 1200, 30)]))
    return names, log


def each_has_98_sends(names: list[str], lines: list[str]) -> None:
    """Each rule's sends stand beside its whole name."""
    assert {line.split()[-1]: line.split()[0] for line in lines if line.endswith(tuple(names))} == dict.fromkeys(
        names, "98"
    ), lines
    assert "…" not in "".join(lines)


def test_a_broken_line_of_standard_input_is_named_too(folder: Path) -> None:
    assert "<standard input>:1: not an event" in str(run(folder, "--events", "-", stdin=b"[]\n").exception)


def test_a_log_that_is_not_there_is_named(folder: Path) -> None:
    assert "nowhere.jsonl" in str(run(folder, "--events", "nowhere.jsonl").exception)


def test_rules_that_do_not_load_are_reported_before_the_log_is_read(folder: Path) -> None:
    (folder / "rule.yaml").write_text("trigger: t\n")
    assert "missing-key" in str(run(folder, "--events", "nowhere.jsonl").exception)


@pytest.mark.parametrize("lines", [b"", b"\n\n"])
def test_a_log_without_an_event_is_refused_and_prints_no_table(folder: Path, lines: bytes) -> None:
    for more in ((), ("--json",), ("--html", folder / "page.html")):
        done = run(folder, "--events", "-", *more, stdin=lines)
        assert str(done.exception) == "--events: no event in -"
        assert done.stdout == ""
        assert not (folder / "page.html").exists()


def test_a_log_whose_events_are_all_after_the_end_is_no_mistake(folder: Path) -> None:
    done = run(folder, "--events", "-", "--until", "2026-01-01", stdin=log_of([0]))
    assert done.exit_code == 0
    assert "no events before the end\n" in done.stdout
    assert "0 users" not in done.stdout.replace("0 users with timers", "")


@given(st.lists(st.integers(0, 10_000), max_size=300), st.integers(1, 100))
def test_a_chart_fits_its_width_and_shows_any_values(values: list[int], width: int) -> None:
    lines, each = columns(values, width)
    assert len(lines) == HEIGHT
    assert all(len(line) <= width + LABEL + 2 for line in lines)
    bottom = lines[-1].split("┤")[1]
    sums = [sum(values[start : start + each]) for start in range(0, len(values), each)]
    assert [char != " " for char in bottom.ljust(len(sums))] == [total > 0 for total in sums]


def test_fields_that_stand_beside_the_properties_are_named(folder: Path) -> None:
    event = {"id": "1", "user_id": "u1", "type": "ping", "time": "2026-01-05T12:00:00Z"}
    lines = [event | {"total": 5, "cart_id": "c"}, event | {"id": "2", "properties": {"total": 5}, "tenant": "t"}]
    log = "\n".join(json.dumps(line) for line in lines).encode()
    output = run(folder, "--events", "-", stdin=log).stdout
    message = 'cart_id, total: ignored outside of `properties`; write {"properties": {"cart_id": …}}'
    assert f"note: {message}" in " ".join(output.split())
    assert "beside" not in run(folder, "--events", "-", stdin=log_of([0])).stdout


def test_templates_may_be_missing_or_broken(folder: Path) -> None:
    template = folder / "templates" / "hello.liquid"
    template.write_text("{% if %}")
    assert run(folder, "--events", "-", stdin=log_of([0])).exit_code == 0
    template.unlink()
    assert run(folder, "--events", "-", stdin=log_of([0])).exit_code == 0


PEOPLE = [
    {
        "user_id": "u0",
        "zone": "Europe/Berlin",
        "consent": {"marketing": {"granted": True, "time": "2020-01-01T00:00:00Z"}},
    },
    {"user_id": "u2", "consent": {"marketing": {"granted": False, "time": "2020-01-01T00:00:00Z"}}},
]
OUTCOMES = [
    {"id": "o1", "command_id": "c1", "user_id": "u0", "kind": "unsubscribed", "purpose": "marketing"}
    | {"time": "2026-01-06T00:00:00Z"}
]


def json_lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow_parquet.write_table(Table.from_pylist(rows), file, row_group_size=1)
    return file


@pytest.mark.parametrize("write", [json_lines, parquet])
def test_profiles_and_outcomes_decide_who_may_be_mailed(
    folder: Path, write: Callable[[Path, list[dict[str, Any]]], Path]
) -> None:
    suffix = "jsonl" if write is json_lines else "parquet"
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0, 2]) + log_of([0]).replace(b"2026-01-05", b"2026-01-09").replace(b'"e', b'"f'))
    people = write(folder / f"people.{suffix}", PEOPLE)
    told = write(folder / f"outcomes.{suffix}", OUTCOMES)
    lines = run(folder, "--events", log, "--profiles", people, "--outcomes", told, "--json").stdout.splitlines()
    decisions = [json.loads(line) for line in lines[:-1]]
    assert [(each["user_id"], each["outcome"], each.get("reason")) for each in decisions] == [
        ("u0", "send", None),
        ("u0", "drop", "no_consent"),
        ("u0", "drop", "no_consent"),
        ("u2", "drop", "no_consent"),
        ("u2", "drop", "no_consent"),
    ]


def test_events_may_be_parquet_with_properties_as_text_struct_or_map(folder: Path) -> None:
    (folder / "rule.yaml").write_text(RULE.replace("on: ping", "on: {event: ping, where: event.n == 1}"))
    row = {"id": "1", "user_id": "u1", "type": "ping", "time": START}
    for properties in ('{"n": 1}', {"n": 1, "m": None}):
        log = parquet(folder / "log.parquet", [row | {"properties": properties}])
        summary = json.loads(run(folder, "--events", log, "--json").stdout.splitlines()[-1])["summary"]
        assert summary["sends_by_trigger"] == {"hello": 1}
    numbers = pyarrow.map_(pyarrow.string(), pyarrow.int64())
    columns = {name: [value] for name, value in row.items()}
    columns["properties"] = pyarrow.array([[("n", 1)]], numbers)
    pyarrow_parquet.write_table(Table.from_pydict(columns), log)
    assert '"hello":1' in run(folder, "--events", log, "--json").stdout


@pytest.mark.parametrize(
    ("option", "line", "message"),
    [
        ("--profiles", '{"user_id": "u", "zone": 7}', "not a profile: zone"),
        ("--profiles", '{"user_id": "u", "time": "yesterday"}', "not a profile: time: not a time with an offset"),
        ("--outcomes", '{"id": "1"}', "not an outcome: command_id"),
    ],
)
def test_a_line_that_is_no_profile_or_outcome_is_named(folder: Path, option: str, line: str, message: str) -> None:
    file = folder / "facts.jsonl"
    file.write_text(f"\n{line}\n")
    problem = str(run(folder, "--events", "-", option, file, stdin=log_of([0])).exception)
    assert problem.startswith(f"{file}:2: {message}")


def test_a_file_that_is_not_parquet_is_named(folder: Path) -> None:
    (folder / "log.parquet").write_bytes(b"PAR1 no")
    assert "log.parquet: not Parquet" in str(run(folder, "--events", folder / "log.parquet").exception)


def test_the_zone_and_the_end_are_those_that_are_given(folder: Path) -> None:
    (folder / "rule.yaml").write_text(RULE + 'quiet: {from: "20:00", to: "08:00"}\n')
    log = log_of([0]).replace(b"T12:", b"T21:")
    end = ("--until", "2026-01-06T12:00:00Z")
    here = json.loads(run(folder, "--events", "-", *end, "--json", stdin=log).stdout.splitlines()[-1])["summary"]
    assert here["sends_by_day"] == {"2026-01-06": 1}
    there = run(folder, "--events", "-", "--zone", "America/New_York", *end, "--json", stdin=log).stdout
    assert json.loads(there.splitlines()[-1])["summary"]["sends_by_day"] == {"2026-01-05": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--zone", "berlin"), "--zone: unknown time zone 'berlin'; did you mean `Europe/Berlin`"),
        (("--until", "soon"), "--until: 'soon' is not a time"),
        (("--user", "nobody"), "--user: nobody has no event in -"),
        (("--user", "u0", "--html", "x.html"), "--user: shows one user's timeline"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_write(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in str(run(folder, "--events", "-", *arguments, stdin=log_of([0])).exception)


def test_spark_is_asked_for_by_the_name_of_its_extra_where_it_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    problem = str(run(folder, "--events", "log.jsonl", "--engine", "spark").exception)
    assert problem == "--engine spark needs the package pyspark: pip install 'ebbtide[spark]'"


def notes_of(folder: Path, *arguments: object, stdin: bytes) -> list[str]:
    done = run(folder, "--events", "-", "--json", *arguments, stdin=stdin)
    notes: list[str] = json.loads(done.stdout.splitlines()[-1])["summary"]["notes"]
    return [note for note in notes if "listens" in note]


@pytest.mark.parametrize(
    ("heard", "named", "note"),
    [
        ("product_viewed", "viewed_product", "`viewed_product` (1 event); did you mean `product_viewed`?"),
        ("product_viewed", "product_veiwed", "`product_veiwed` (1 event); did you mean `product_viewed`?"),
        ("ping", "order_placed", "any event of the log, such as `order_placed`; rules listen to `ping`"),
    ],
)
def test_a_log_that_names_an_event_otherwise_than_the_rules_is_noted(
    folder: Path, heard: str, named: str, note: str
) -> None:
    (folder / "rule.yaml").write_text(RULE.replace("ping", heard))
    log = log_of([0]).splitlines()[0].replace(b'"ping"', f'"{named}"'.encode())
    assert notes_of(folder, stdin=log) == [f"no rule listens to {note}"]


def test_other_events_beside_those_that_rules_hear_are_not_noted(folder: Path) -> None:
    assert notes_of(folder, stdin=log_of([0]) + log_of([1]).replace(b'"ping"', b'"order_placed"')) == []
    assert notes_of(folder, stdin=log_of([0]) + log_of([1]).replace(b'"ping"', b'"Ping"')) == [
        "no rule listens to `Ping` (2 events); did you mean `ping`?"
    ]


def test_an_event_that_only_the_new_rules_misspell_is_noted(folder: Path, tmp_path_factory: Any) -> None:
    old = tmp_path_factory.mktemp("old")
    (old / "rule.yaml").write_text(RULE)
    (folder / "rule.yaml").write_text(RULE.replace("on: ping", "on: pingg"))
    note = "no rule listens to `ping` (2 events); did you mean `pingg`?"
    assert notes_of(folder, "--against", old, stdin=log_of([0])) == [note]


def test_old_rules_are_compared_with_new_ones(folder: Path) -> None:
    old = folder / "old"
    old.mkdir()
    (old / "rule.yaml").write_text(RULE.replace("cap: {max: 1, per: 1d}\n", ""))
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0, 1, 3]))
    (folder / "rule.yaml").rename(folder / "new.yaml")
    done = run(folder / "new.yaml", "--events", log, "--against", old, "--json")
    against = json.loads(done.stdout.splitlines()[-1])["summary"]["against"]
    assert against["sends"] == [{"trigger": "hello", "old": 4, "new": 3}]
    assert against["users"] == {"more": 0, "fewer": 1, "other": 0, "same": 2}
    [sample] = against["sample"]
    assert (sample["user_id"], len(sample["old"]), len(sample["new"])) == ("u3", 2, 1)
    shown = run(folder / "new.yaml", "--events", log, "--against", old).stdout
    assert "  4    3      -1  hello" in shown
    assert "1  get fewer" in shown
    assert "- 2026-01-08T12:03:00  hello, hello" in shown


def test_a_timeline_shows_what_happened_to_one_user_gate_by_gate(folder: Path) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(log_of([0, 1, 3]))
    shown = run(folder, "--events", log, "--user", "u3").stdout
    assert "2026-01-08 12:02:00 UTC  event ping e2" in shown
    assert "hello, hello: not sent: the cap is full" in shown
    assert "✗ cap" in shown
    assert "e0" not in shown
    lines = [json.loads(line) for line in run(folder, "--events", log, "--user", "u3", "--json").stdout.splitlines()]
    assert [(line["what"], line["decisions"][0]["outcome"]) for line in lines] == [
        ("event ping e2", "send"),
        ("event ping e3", "drop"),
    ]


def test_a_page_is_written_whole_and_names_nothing_from_elsewhere(folder: Path) -> None:
    log, page = folder / "log.jsonl", folder / "page.html"
    log.write_bytes(log_of([0, 1, 3]).replace(b'"u3"', b'"u<script>"'))
    done = run(folder, "--events", log, "--html", page)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, f"wrote {page}")
    text = page.read_text()
    assert text.count("<svg") == 5
    assert "<script" not in text
    assert "style=" not in text
    assert "src=" not in text
    assert "href" not in text
    assert "<td>hello</td>" in text


def test_a_failed_backtest_leaves_no_page_and_keeps_the_one_that_was_there(folder: Path) -> None:
    page = folder / "page.html"
    before = set(folder.iterdir())
    assert run(folder, "--events", "-", "--html", page, stdin=b"[]\n").exit_code == 1
    assert set(folder.iterdir()) == before
    page.write_text("yesterday")
    assert run(folder, "--events", "-", "--html", page, stdin=b"[]\n").exit_code == 1
    assert set(folder.iterdir()) == {*before, page}
    assert page.read_text() == "yesterday"
