"""Every command that takes a file, given one that it cannot use: one message with its name, and never a traceback."""

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from typer.testing import CliRunner

from cli.errors import one_line
from cli.main import app

CAPABILITIES_3 = 0x20080522
OVERRIDING = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, which let root read files without permission."""
RULE = (
    "trigger: hello\npurpose: marketing\non: ping\nsend: hello\ncases:\n"
    "  - {name: n, given: [{at: '10:00', ping: {}}], expect: [{at: '10:00', send: hello}]}\n"
)
EVENT = '{"id": "1", "user_id": "u1", "type": "ping", "time": "2026-01-05T12:00:00Z"}\n'
TEMPLATE = "---\nsubject: s\n---\nx\n--- text ---\nx\n"

FILES: dict[str, Callable[[Path], object]] = {
    "binary": lambda file: file.write_bytes(bytes(range(256)) * 40),
    "empty": lambda file: file.write_bytes(b""),
    "of comments": lambda file: file.write_text("# nothing\n"),
    "of NUL": lambda file: file.write_bytes(b"\0" * 100),
    "of UTF-16": lambda file: file.write_text("trigger: x\n", encoding="utf-16"),
    "of Latin-1": lambda file: file.write_bytes("trigger: caf\xe9\n".encode("latin-1")),
    "with a byte order mark": lambda file: file.write_bytes(b"\xef\xbb\xbf{}\n"),
    "of one long line": lambda file: file.write_bytes(b"x" * 2_000_000),
    "nested deep": lambda file: file.write_bytes(b"[" * 100_000),
    "that is a folder": lambda file: file.mkdir(),
    "that is a broken link": lambda file: file.symlink_to(file.parent / "gone"),
    "that is a link to itself": lambda file: file.symlink_to(file),
    "that may not be read": lambda file: (file.write_bytes(b"x"), file.chmod(0)),
    "that is not there": Path.exists,
}
READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "check": ("odd-file.yaml", ("check", "BAD")),
    "check a folder": ("odd-file.yaml", ("check", "FOLDER")),
    "check a folder of templates": ("templates/odd-file.liquid", ("check", "FOLDER")),
    "check --events": ("odd-file.yaml", ("check", "FOLDER", "--events", "BAD")),
    "test": ("odd-file.yaml", ("test", "BAD")),
    "apply": ("odd-file.yaml", ("apply", "BAD")),
    "backtest of rules": ("odd-file.yaml", ("backtest", "BAD", "--events", "FOLDER/log.jsonl")),
    "backtest": ("odd-file.jsonl", ("backtest", "FOLDER", "--events", "BAD")),
    "backtest --strict": ("odd-file.jsonl", ("backtest", "FOLDER", "--events", "BAD", "--strict")),
    "backtest of gzip": ("odd-file.gz", ("backtest", "FOLDER", "--events", "BAD")),
    "preview": ("odd-file.liquid", ("preview", "BAD")),
    "preview --user": ("odd-file.json", ("preview", "FOLDER/templates/hello.liquid", "--user", "BAD")),
    "preview --data": ("odd-file.json", ("preview", "FOLDER/templates/hello.liquid", "--data", "BAD")),
    "send-test": ("odd-file.liquid", ("send-test", "BAD", "--to", "a@b.example")),
    "send-test --data": (
        "odd-file.json",
        ("send-test", "FOLDER/templates/hello.liquid", "--to", "a@b.example", "--data", "BAD"),
    ),
    "eval --event": ("odd-file.json", ("eval", "event.x", "--event", "BAD")),
    "eval --user": ("odd-file.json", ("eval", "user.x", "--user", "BAD")),
    "eval --cases": ("odd-file.jsonl", ("eval", "--cases", "BAD")),
    "explain --file": ("odd-file.jsonl", ("explain", "--user", "u", "--file", "BAD")),
}
WRITERS: dict[str, tuple[str, ...]] = {
    "test --junit": ("test", "FOLDER", "--junit", "BAD"),
    "preview --html": ("preview", "FOLDER/templates/hello.liquid", "--html", "BAD"),
    "new --in": ("new", "x", "--like", "receipt", "--in", "BAD"),
    "schema": ("schema", "BAD"),
    "schema --out": ("schema", "trigger", "--out", "BAD"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of good rules; no server answers."""
    monkeypatch.setenv("EBBTIDE_KAFKA", f"127.0.0.1:{free_port()}")
    (tmp_path / "templates").mkdir()
    (tmp_path / "rule.yaml").write_text(RULE)
    (tmp_path / "templates" / "hello.liquid").write_text(TEMPLATE)
    (tmp_path / "log.jsonl").write_text(EVENT)
    return tmp_path


@contextmanager
def permissions_that_hold() -> Iterator[None]:
    """Takes from root the capabilities that bypass permissions, and restores them."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0)
    held = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0, os.strerror(ctypes.get_errno())
    before = held[0]
    held[0] = before & ~OVERRIDING
    assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        held[0] = before
        assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())


def result(folder: Path, name: str, arguments: tuple[str, ...], what: str) -> tuple[int, str]:
    """The exit status and the text of a command that is given such a file."""
    bad = folder / name
    FILES[what](bad)
    given = [each.replace("BAD", str(bad)).replace("FOLDER", str(folder)) for each in arguments]
    with permissions_that_hold():
        done = CliRunner().invoke(app, given)
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.output
    line = one_line(done.exception)  # type: ignore[arg-type]
    assert line is not None, f"{what}: {done.exception!r}"
    return 2, line


def unwrapped(text: str) -> str:
    """The text without line ends, those inside of a box of the command line too."""
    return re.sub(r" *│?\n│? *", "", text)


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("command", READERS)
def test_a_file_that_cannot_be_used_is_named(folder: Path, command: str, what: str) -> None:
    name, arguments = READERS[command]
    code, text = result(folder, name, arguments, what)
    assert code in (0, 1, 2)
    assert "Traceback" not in text
    if code == 2 and "answer" not in text:  # else it asked for a server next
        assert Path(name).stem in unwrapped(text), text
        assert text.count("\n") <= 12, text


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("command", WRITERS)
def test_a_place_that_cannot_be_written_is_named(folder: Path, command: str, what: str) -> None:
    code, text = result(folder, "x.out", WRITERS[command], what)
    assert code in (0, 2), text
    if code == 2:
        assert "x.out" in unwrapped(text), text


@pytest.mark.parametrize("command", ["preview --data", "eval --event", "explain --file", "backtest"])
def test_another_encoding_is_named_with_what_to_do(folder: Path, command: str) -> None:
    name, arguments = READERS[command]
    assert "UTF-16; save it as UTF-8" in result(folder, name, arguments, "of UTF-16")[1]


def test_json_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    (folder / "event.json").write_bytes(b'\xef\xbb\xbf{"properties": {"x": 3}}')
    done = CliRunner().invoke(app, ["eval", "event.x", "--event", str(folder / "event.json")])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "3")


def test_a_named_pipe_is_not_a_rule_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert done.exit_code == 0
    refused = CliRunner().invoke(app, ["check", str(folder / "pipe.yaml")])
    assert isinstance(refused.exception, Exception)
    assert "pipe.yaml" in (one_line(refused.exception) or "")
