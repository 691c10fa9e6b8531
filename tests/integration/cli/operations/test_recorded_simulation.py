"""`ebbtide senders simulate` and `reclassify` on the attempts that the ledger keeps."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers.command_line import Done, ebbtide

from schemas.outcomes import Reply
from senders.channels.channel import MailPath
from senders.delivery.attempt_path import attempt_path
from senders.queue.attempt_paths import PathBook
from senders.shaping.document import SmtpState
from senders.shaping.file import built_in
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.lane_state import LaneKey
from senders.shaping.resolution import resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

pytestmark = pytest.mark.servers

GOOGLE = ["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"]
BLOCK = Reply(code=421, enhanced="4.7.28", text="unusual rate of mail")
NEW = """
[provider.google]
match = [{mx_suffix = ".google.com"}]
max_message_rate = "1/m"
[[provider.google.automation]]
pattern = 'unusual rate'
action = "suspend"
duration = "1h"
"""


def way(domain: str, mx: list[str], answered: SmtpState | None) -> str:
    """The way of an attempt, as delivery writes it."""
    egress = resolve(built_in(), Destination.of(domain, mx), "default")
    mail = ShapedMail("1" * 32, domain, TrafficKind("t", "marketing", "shop.example"), 50, 0)
    begin = LaneBegin(LaneKey(egress.source, egress.site, egress.provider or ""), mail, egress, egress.keys)
    return attempt_path(PathBook(), 0.0, begin, MailPath(mx[0], "192.0.2.1", "192.0.2.9", "TLSv1.3"), answered).text


def record(url: str, number: int, path: str, reply: Reply | None, minutes_ago: float = 10, **more: Any) -> None:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    state = "accepted" if reply is None or reply.code < 400 else "deferred"
    fields = {
        "recorded_at": at,
        "admitted_at": at,
        "started_at": at,
        "state_at": at,
        "command_id": f"{number:032x}",
        "partition": 0,
        "attempt": 1,
        "hard": False,
        "state": state,
        "reply": reply and reply.model_dump_json(),
        "reason": "rate_limited" if state == "deferred" else None,
        "user_id": "u",
        "trigger": "t",
        "purpose": "marketing",
    } | more
    with psycopg.connect(url) as connection:
        found = connection.execute(
            """INSERT INTO ledger_paths (path) VALUES (%s)
               ON CONFLICT (path) DO UPDATE SET used_on = now() RETURNING number""",
            [path],
        ).fetchone()
        fields["path"] = found and found[0]
        connection.execute("SELECT ledger_add_partitions((now() - interval '3 days')::date, now()::date)")
        connection.execute(
            f"INSERT INTO ledger_outcomes ({', '.join(fields)}) VALUES ({', '.join(f'%({name})s' for name in fields)})",
            fields,
        )


def simulate(url: str, *arguments: object) -> Done:
    return ebbtide("senders", "simulate", *arguments, EBBTIDE_DATABASE_URL=url)


@pytest.fixture
def ledger(database_url: str) -> str:
    """A ledger with four attempts at Google, the second of which was blocked, and one elsewhere."""
    for number in range(4):
        answered = SmtpState.DOT if number != 1 else SmtpState.RCPT
        reply = BLOCK if number == 1 else Reply(code=250)
        record(database_url, number, way("gmail.com", GOOGLE, answered), reply, 10 - number / 60)
    record(database_url, 9, way("other.example", ["mx.other.example"], SmtpState.DOT), Reply(code=250))
    return database_url


@pytest.fixture
def new(tmp_path: Path) -> Path:
    file = tmp_path / "new.toml"
    file.write_text(NEW)
    return file


def test_the_attempts_of_the_ledger_show_what_another_file_would_have_done(ledger: str, new: Path) -> None:
    shown = simulate(ledger, "--config", new, "--since", "1h")
    found = json.loads(simulate(ledger, "--config", new, "--since", "1h", "--json").stdout)

    assert shown.returncode == 0, shown.stderr
    assert "provider.google.automation[0] triggers 0 → 1 times" in shown.stdout
    assert "5 attempts, 1 of 2 lanes differ" in shown.stdout
    assert "by provider.google.max_message_rate" in shown.stdout
    [lane] = [lane for name, lane in found["new"]["lanes"].items() if "google" in name]
    assert (lane["attempts"], lane["late"], lane["suspended"]) == (4, 1, 2)
    assert found["new"]["limits"]["mails default (alt1)?.gmail-smtp-in.l.google.com of google"]["late"] == 1


def test_attempts_before_the_time_asked_for_do_not_count(ledger: str, new: Path) -> None:
    record(ledger, 20, way("gmail.com", GOOGLE, SmtpState.DOT), Reply(code=250), 60 * 30)

    one, all_ = (
        json.loads(simulate(ledger, "--config", new, "--since", since, "--json").stdout) for since in ("1h", "2d")
    )

    assert [sum(lane["attempts"] for lane in found["new"]["lanes"].values()) for found in (one, all_)] == [5, 6]


def test_an_attempt_without_a_reply_counts_and_is_no_answer(ledger: str, new: Path) -> None:
    record(ledger, 21, way("gmail.com", GOOGLE, None), None, 1, state="in_doubt")

    found = json.loads(simulate(ledger, "--config", new, "--json").stdout)

    [lane] = [lane for name, lane in found["new"]["lanes"].items() if "google" in name]
    assert lane["attempts"] == 5


def test_other_rules_for_bounces_show_the_classes_that_change_by_what_a_reply_answered(
    ledger: str, new: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[classes.busy]\nabout = 'busy'\nwaits = true\n"
        "[[rules]]\nname = 'busy'\nclass = 'busy'\ntext = ['unusual rate']\nstage = ['rcpt']\n"
    )
    found = json.loads(simulate(ledger, "--config", new, "--rules", rules, "--json").stdout)
    shown = simulate(ledger, "--config", new, "--rules", rules).stdout

    assert [(each["answered"], each["now"], each["rule"]) for each in found["classes"]] == [("rcpt", "busy", "busy")]
    assert "rate_limited - -> busy - to rcpt  421 4.7.28 unusual rate of mail" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "soon"), 'not a duration; write "60s"'),
        (("--since", "0s"), "must be longer than nothing"),
        (("{attempts}", "--since", "1d"), "is about the ledger; leave out the file with attempts"),
        (("--since", "1m"), "the ledger has no attempts of the last 1m to simulate with"),
    ],
)
def test_what_cannot_be_simulated_is_named(
    ledger: str, new: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "attempts.jsonl").write_text("")
    given = [each.format(attempts=tmp_path / "attempts.jsonl") for each in arguments]

    done = simulate(ledger, "--config", new, *given)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_database_without_a_ledger_says_what_to_do(empty_database_url: str, new: Path) -> None:
    done = simulate(empty_database_url, "--config", new)

    assert (done.returncode, done.stderr) == (
        2,
        "ebbtide: the database has no ledger yet; `ebbtide migrate` creates it\n",
    )


@pytest.mark.parametrize("command", [("simulate", "--config", "{new}"), ("reclassify",)])
def test_a_database_of_an_older_version_says_what_to_do(database_url: str, new: Path, command: tuple[str, ...]) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE ledger_paths")

    done = ebbtide("senders", *(each.format(new=new) for each in command), EBBTIDE_DATABASE_URL=database_url)

    assert done.returncode == 2
    assert done.stderr == (
        "ebbtide: the database is older than this program: it has no ledger_paths; run `ebbtide migrate`\n"
    )
