"""A log of events is read without their model where a line is plain, and gives what the model gives."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.rules import event_log
from cli.rules.event_log import BadLog, LogReader
from triggers.cases.backtest import UserEvent

texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
TIMES = ["2026-01-05T10:00:00Z", "2026-01-05T10:00:00.123456789+02:00", "2026-01-05T10:00:00", "2026-01-05", 0, None]
TIMES += ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:01", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"]
TIMES += ["2200-12-31T23:59:59.999999Z", "2201-01-01T00:00:00Z", "2201-01-01T01:00:00+02:00", "9999-12-31T23:59:59Z"]
records = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["e1", "e2", "", "\x00", 7]),
        "type": st.sampled_from(["ping", "view", "no name", "x" * 129]),
        "user_id": st.sampled_from(["u1", "u2", "u1", None, "", "a\nb"]),
        "time": st.sampled_from([*TIMES[:2] * 4, *TIMES]),
    },
    optional={
        "properties": st.none() | st.dictionaries(texts, values, max_size=3) | values,
        "source": st.sampled_from(["web", "", None, "x" * 257]),
        "anonymous_id": st.sampled_from(["a", None, ""]),
        "cart": values,
    },
)
lines = st.one_of(
    records.map(lambda each: json.dumps(each).encode()),
    records.map(lambda each: json.dumps(each, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    records.map(lambda each: b" " + json.dumps(each, indent=1).replace("\n", " ").encode() + b" \r"),
    st.sampled_from([b"", b"  ", b"oops", b"[]", b'{"id": "caf\xe9"}', b'{"cart": "\xff", "id": 1}']),
)


def read(log: Path, strict: bool) -> tuple[Any, ...]:
    """All that a reader tells of a log."""
    reader, progress = LogReader(log, strict), list[int]()
    found: list[UserEvent] = []
    error = ""
    try:
        found.extend(reader.events(progress.append))
    except BadLog as problem:
        error = str(problem)
    return repr(found), error, reader.findings, progress


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=8), st.booleans())
@example([b'{"id": "1", "type": "ping", "user_id": "u", "time": "2026-01-05T10:00:00Z", "cart": "\xff"}'], False)
def test_a_reader_without_models_tells_what_a_reader_with_models_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[bytes], strict: bool
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(written))
    found = read(log, strict)
    with monkeypatch.context() as patched:
        patched.setattr(event_log, "_plain", lambda _: None)
        assert read(log, strict) == found
