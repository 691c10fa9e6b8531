"""`ebbtide senders check` and `resolve`, as people and as programs read them."""

import json
from pathlib import Path

import pytest
from drivers.command_line import ebbtide

import senders.shaping

STARTING = Path(senders.shaping.__file__).with_name("data") / "starting.toml"
GOOGLE = ("--mx", "gmail-smtp-in.l.google.com", "--mx", "alt1.gmail-smtp-in.l.google.com")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "shaping.toml"
    file.write_text("[default]\nconection_limit = 1\n")
    return file


def test_check_prints_each_mistake_and_fails(wrong: Path) -> None:
    done = ebbtide("senders", "check", wrong)

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{wrong}:2:1: error: unknown key `conection_limit` in `default`; did you mean `connection_limit`?",
        f"{wrong}: 1 error, 0 warnings",
    ]


def test_check_gives_the_same_as_json(wrong: Path) -> None:
    [found] = json.loads(ebbtide("senders", "check", wrong, "--json").stdout)

    assert (found["line"], found["column"], found["severity"]) == (2, 1, "error")


def test_check_of_the_starting_file_succeeds() -> None:
    done = ebbtide("senders", "check", STARTING)

    assert (done.returncode, done.stdout) == (0, f"{STARTING}: 0 errors, 0 warnings\n")


def test_a_file_that_is_not_there_is_named() -> None:
    done = ebbtide("senders", "check", "nowhere.toml")

    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr


def test_resolve_shows_each_key_with_its_line() -> None:
    done = ebbtide("senders", "resolve", "someone@gmail.com", *GOOGLE, EBBTIDE_SHAPING=str(STARTING))

    assert done.returncode == 0
    assert "someone" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["site", "(alt1)?.gmail-smtp-in.l.google.com"] in lines
    line = 1 + STARTING.read_text().splitlines().index("max_deliveries_per_connection = 50")
    assert ["max_deliveries_per_connection", "50", f"{STARTING}:{line}", "provider.google"] in lines
    assert ["rset_timeout", "5s", "built-in"] in lines


def test_resolve_gives_the_same_as_json() -> None:
    done = ebbtide("senders", "resolve", "gmail.com", *GOOGLE, "--file", STARTING, "--json")

    found = json.loads(done.stdout)
    assert found["provider"] == "google"
    assert found["keys"]["tls"]["value"] == "required"
    assert found["keys"]["tls"]["set_by"] == "provider.google"
    assert found["rules"][0]["rule"] == "provider.google.automation[0]"


def test_resolve_without_a_file_shows_what_is_built_in() -> None:
    assert "built-in" in ebbtide("senders", "resolve", "a.example", "--mx", "mx.a.example").stdout


def test_a_source_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[source.one]\n")

    done = ebbtide("senders", "resolve", "a.example", "--mx", "m", "--file", tmp_path / "s.toml", "--source", "ones")

    assert (done.returncode, done.stderr) == (2, "ebbtide: no source is called 'ones'; did you mean `one`?\n")


def attempt(second: int, **values: object) -> str:
    return json.dumps({"at": f"2026-11-29T10:00:{second:02}Z", "domain": "d.example", "mx": ["mx.d.example"]} | values)


def test_simulate_shows_what_another_file_would_have_done(tmp_path: Path) -> None:
    attempts, new = tmp_path / "attempts.jsonl", tmp_path / "new.toml"
    blocked = {"code": 421, "enhanced": "4.7.0", "text": "blocked"}
    attempts.write_text("\n".join([attempt(0), attempt(0), attempt(1, **blocked), attempt(2), attempt(3)]))
    new.write_text(
        "[default]\nmax_message_rate = '1/s'\n"
        "[[default.automation]]\npattern = 'blocked'\naction = 'suspend'\nduration = '1h'\n"
    )

    shown = ebbtide("senders", "simulate", attempts, "--config", new).stdout.splitlines()
    found = json.loads(ebbtide("senders", "simulate", attempts, "--config", new, "--json").stdout)

    assert shown[1].split() == [
        "default",
        "mx.d.example",
        "5",
        *["0", "→", "2"],
        "0",
        *["1", "→", "2", "0.0", "s", "→", "1.0", "s"],
    ]
    assert shown[3].split()[-6:] == ["2,", "1.0", "s,", "1/s", "by", "default.max_message_rate"]
    assert shown[4:] == ["default.automation[0] triggers 0 → 1 times", "5 attempts, 1 of 1 lanes differ"]
    assert found["now"]["rules"] == {}
    assert found["new"]["lanes"]["default mx.d.example"]["suspended"] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", ":1: not an attempt: at: missing; "),
        ("x", ":1: not an attempt:"),
        (attempt(2) + "\n" + attempt(1), ":2: sooner than the line before; sort the attempts by `at`"),
    ],
)
def test_attempts_that_cannot_be_used_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    attempts, new = tmp_path / "attempts.jsonl", tmp_path / "new.toml"
    attempts.write_text(text)
    new.write_text("")

    done = ebbtide("senders", "simulate", attempts, "--config", new)

    assert done.returncode == 2
    assert f"{attempts}{said}" in done.stderr
