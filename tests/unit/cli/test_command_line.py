"""The command line as a person meets it: what it says, and how it exits."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import Done
from drivers.free_ports import free_port

from cli.errors import one_line
from cli.main import command_line, main
from schemas.errors import UserError
from schemas.topics import TOPICS

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


Command = Callable[..., Done]


def process(*arguments: str, **variables: str) -> Done:
    """Runs the console script as a person does: in a process of its own, which takes a second to start."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb"} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ebbtide(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the console script in this process; what C libraries print is captured too."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGTERM)}

    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["ebbtide", *arguments])
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bad.yaml").write_text("trigger: bad\npurpose: marketing\non: signed_up\nafer: 1h\nsend: nowhere\n")
    return tmp_path


def test_the_command_line_starts_without_the_libraries_of_servers():
    """They would take longer than all else of a start."""
    heavy = {"asyncio", "confluent_kafka", "faust", "psycopg", "pydantic"}
    source = f"import sys, cli.main; print(*({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_check_and_test_pass_on_the_examples(ebbtide):
    checked = process("check", str(EXAMPLES))
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (
        0,
        "5 rule files, 4 templates: 0 errors, 0 warnings, 4 notes",
    )
    tested = ebbtide("test", str(EXAMPLES))
    assert tested.returncode == 0
    assert tested.stdout.splitlines()[-1].endswith(" passed, 0 failed")


def test_check_names_every_problem_at_once_with_file_line_and_column(ebbtide, folder):
    done = ebbtide("check", str(folder))
    assert done.returncode == 1
    assert f"{folder}/bad.yaml:4:1:" in done.stdout
    assert f"{folder}/bad.yaml:5:7:" in done.stdout


def test_apply_refuses_a_wrong_set_before_it_asks_for_kafka(ebbtide, folder):
    done = ebbtide("apply", str(folder), EBBTIDE_KAFKA=f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "bad.yaml:4:1:" in done.stdout


WITHOUT_KAFKA = [
    *(("switches",), ("pause", "global"), ("resume", "global"), ("dead-letters", "show", "x")),
    *(("dead-letters", "replay"), ("publish", "event", '{"type": "x", "user_id": "u"}')),
    ("publish", "profile", '{"user_id": "u"}'),
]


@pytest.mark.parametrize(
    "arguments", [("apply", str(EXAMPLES)), ("dead-letters", "list"), ("topics",), ("run", "streams"), *WITHOUT_KAFKA]
)
def test_kafka_away_is_one_line_with_the_next_step(ebbtide, arguments):
    address = f"127.0.0.1:{free_port()}"
    done = (process if arguments[0] == "run" else ebbtide)(*arguments, EBBTIDE_KAFKA=address)
    assert done.returncode == 2
    assert done.stderr == (
        f"ebbtide: Kafka does not answer at {address}; `make status` shows what runs, `make up` starts it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "nowhere"), "ebbtide: nowhere: no such file or folder\n"),
        (("check", "."), "ebbtide: no rule files (*.yaml) in .\n"),
        (("test", str(EXAMPLES), "-k", "zzz"), "ebbtide: no case matches -k 'zzz'"),
        (("new", "a/b", "--like", "receipt"), "ebbtide: 'a/b' cannot name a rule"),
        (("preview", "nowhere.liquid"), "ebbtide: nowhere.liquid: no such template"),
        (("send-test", str(EXAMPLES / "templates" / "we-miss-you.liquid"), "--to", "x"), "ebbtide: --to: not a plain"),
        (("publish", "event", "{oops"), "ebbtide: not JSON: "),
        (("eval", "event.a"), "ebbtide: the expression reads `event`; give it with --event FILE\n"),
        (
            ("publish", "profile", '{"user_id": "u1", "consent": true}', "--consent", "m"),
            "ebbtide: consent: not a JSON o",
        ),
        (
            ("publish", "event", '{"user_id": "u1", "type": "t", "source": "\\u0000"}'),
            "ebbtide: source: contains U+0000",
        ),
        (
            ("publish", "event", "{}"),
            'ebbtide: type: missing; user_id: missing; write "user_id": null for an event without a user\n',
        ),
        (("publish", "event", "{}", "--ago", "soon"), "ebbtide: 'soon' is not a duration"),
    ],
)
def test_a_beginners_mistake_is_one_line_and_exit_status_2(ebbtide, arguments, message, tmp_path):
    done = ebbtide(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_broken_line_in_a_backtest_log_is_named(ebbtide, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"id": "1", "type": "signed_up", "user_id": "u", "time": "2026-01-01T00:00:00Z"}\n{"id": 2}\n')
    done = ebbtide("backtest", str(EXAMPLES), "--events", str(log))
    assert done.returncode == 0
    assert f"1 line skipped: not an event (id, time, type, user_id), first {log}:2: " in done.stdout
    done = ebbtide("backtest", str(EXAMPLES), "--events", str(log), "--strict")
    assert done.returncode == 2
    assert f"ebbtide: {log}:2: not an event: " in done.stderr


def test_schema_writes_a_file_for_every_model(ebbtide, tmp_path):
    done = ebbtide("schema", str(tmp_path / "out"))
    assert done.returncode == 0
    assert (tmp_path / "out" / "events.Event.json").read_text().startswith("{\n")
    written = {path.name for path in (tmp_path / "out").glob("*.json")}
    assert written == {f"{topic.name}.{model.__name__}.json" for topic in TOPICS for model in topic.models}


def test_an_error_that_a_person_can_act_on_is_its_own_line_and_a_defect_is_none():
    assert one_line(UserError("no rule of that name; `ebbtide rules` lists them")) is not None
    assert one_line(ValueError("a defect")) is None


def commands(group: Any, name: str = "ebbtide") -> Iterator[tuple[str, Any]]:
    """Each command and each group of commands, with what a person types. Other names of a command are hidden."""
    if not group.hidden:
        yield name, group
    for each, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {each}")


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands(command_line)])
def test_the_help_of_each_command_ends_with_an_example_of_it(name, command):
    *_, examples = command.help.strip().split("Example")
    assert f"`{name}" in examples, command.help


def test_a_server_that_takes_connections_and_says_nothing_is_away_within_seconds():
    asked_at: list[float] = []
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent, ThreadPoolExecutor(1) as taker:

        def take() -> socket.socket:
            taken, _ = silent.accept()
            asked_at.append(time.monotonic())  # the start of the program before it takes as long as the machine is busy
            return taken

        first, address = taker.submit(take), f"127.0.0.1:{silent.getsockname()[1]}"
        done = process("run", "senders", EBBTIDE_KAFKA=address)
        ended_at = time.monotonic()
        first.result().close()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"Kafka does not answer at {address}" in done.stderr
    assert ended_at - asked_at[0] < 10  # 2 s of waiting


@pytest.mark.parametrize("name", ["EBBTIDE_WEBHOOK_SECRETS", "EBBTIDE_DNS_SERVERS"])
def test_a_setting_that_is_not_the_json_it_should_be_is_named_in_one_line(name):
    done = process("run", "senders", **{name: "/not/json"})
    assert done.returncode == 2
    assert done.stderr == f'ebbtide: setting {name}: not JSON, such as ["one", "two"] or {{"name": "value"}}\n'


def test_a_setting_of_another_kind_is_named_in_one_line_in_our_words():
    done = process("run", "senders", EBBTIDE_SMTP_PORT="many")
    assert (done.returncode, done.stderr) == (2, "ebbtide: setting EBBTIDE_SMTP_PORT: not a whole number\n")


def test_senders_without_kafka_say_so_in_one_line_and_end_so_that_they_are_started_again():
    address = f"127.0.0.1:{free_port()}"
    done = process("run", "senders", EBBTIDE_KAFKA=address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ebbtide: Kafka does not answer at {address}; `make status` shows what runs, `make up` starts it\n"
    )


@pytest.mark.parametrize("arguments", [("psql",), ("migrate",), ("explain", "--user", "u")])
def test_a_database_that_is_away_is_one_line_with_its_address_and_the_next_step(ebbtide, arguments):
    port = free_port()
    done = ebbtide(*arguments, EBBTIDE_DATABASE_URL=f"postgresql://127.0.0.1:{port}/ebbtide")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(port) in done.stderr
    assert "`make up` starts it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dead-letters", "list", "--since", "999999999w"), "'999999999w' is not a time; write 2h for two hours ago"),
        (("publish", "event", '{"user_id": "u", "type": "x"}', "--ago", "99999999w"), "is too long; at most 2600w"),
    ],
)
def test_a_time_too_long_ago_is_an_error_in_one_line(ebbtide, arguments, message):
    done = ebbtide(*arguments)
    assert message in done.stderr
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
