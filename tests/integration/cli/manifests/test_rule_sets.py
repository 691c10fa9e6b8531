"""`ebbtide apply`, `plan` and `rules` as a person and a program meet them, on a real Kafka."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from drivers import command_line
from drivers.command_line import Done
from drivers.running_senders import wait_until
from drivers.user_states import state_record
from drivers.whole_pipeline import new_topics

from cli.manifests.history import read_rules
from cli.manifests.publication import ManifestConflict, current_manifest, plan_folder, publish
from cli.rules.rule_folder import read_folder
from infra.kafka.connection import Connection
from infra.kafka.publisher import Publisher
from schemas.codec import encode
from schemas.events import Event
from schemas.profiles import Consent, Profile
from schemas.topics import EVENTS, PROFILES
from streams.decisions.evaluate import state_changelog
from streams.decisions.rulefeed import PublishedRules, RuleFeed

pytestmark = pytest.mark.servers

TEMPLATE = "---\nsubject: s\n---\n<p>x</p>\n--- text ---\nx\n"
SCORE = "score: keen\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"


def rule(name: str, more: str = "", send: str = "hello") -> str:
    return f"trigger: {name}\nowner: crm\npurpose: marketing\non: ping\nsend: {send}\n{more}"


@pytest.fixture(scope="module")
def own_sets(servers) -> Iterator[str]:
    """A Kafka on which no set is left for other tests in the end."""
    yield servers.kafka
    new_topics(servers.kafka)


@pytest.fixture
def kafka(own_sets, monkeypatch, topic_prefix) -> str:
    """Topics without any rule, and no worker that applied anything."""
    monkeypatch.setenv("EBBTIDE_STREAMS_GROUP", f"{topic_prefix}streams")
    new_topics(own_sets)
    return own_sets


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", hello=(rule("a"), rule("b")))


def write(folder: Path, **templates: tuple[str, ...]) -> Path:
    """A folder with templates, and a file for each rule."""
    for old in folder.rglob("*.*"):
        old.unlink()
    for name, rules in templates.items():
        (folder / "templates").mkdir(parents=True, exist_ok=True)
        (folder / "templates" / f"{name}.liquid").write_text(TEMPLATE)
        for number, text in enumerate(rules):
            (folder / f"{name}{number}.yaml").write_text(text)
    return folder


def ebbtide(kafka: str, *arguments: object) -> Done:
    return command_line.ebbtide(*arguments, EBBTIDE_KAFKA=kafka, LOGNAME="ada")


def as_json(kafka: str, *arguments: object, status: int = 0) -> Any:
    done = ebbtide(kafka, *arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def loaded(kafka: str) -> list[str]:
    """The triggers that a worker runs."""
    published: list[PublishedRules] = []
    feed = RuleFeed(Connection(kafka), published.append)
    feed.start()
    try:
        wait_until(lambda: published, "the rules are read")
        return sorted(published[-1].rules.triggers)
    finally:
        feed.stop()


def read_until(person: int, until: str) -> str:
    """What a terminal showed up to these words, or to the end of who writes there."""
    shown = b""
    while until.encode() not in shown:
        try:
            shown += os.read(person, 4096)
        except OSError:  # nobody has the other end any more
            break
    return shown.decode()


def test_apply_shows_what_it_adds_and_a_second_time_it_does_nothing(kafka: str, mine: Path) -> None:
    done = ebbtide(kafka, "apply", mine)
    assert done.returncode == 0, done.stderr
    assert "  + trigger  a" in done.stdout
    assert "  + template hello" in done.stdout
    assert "3 added\nmanifest 1 is current: 3 files\n" in done.stdout
    again = ebbtide(kafka, "apply", mine)
    assert "nothing to do: manifest 1 already has this content\n" in again.stdout
    assert (again.returncode, current_manifest(kafka).number) == (0, 1)
    assert loaded(kafka) == ["a", "b"]


def test_a_removal_without_a_terminal_needs_yes(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine)
    (mine / "hello1.yaml").unlink()
    done = ebbtide(kafka, "apply", mine)
    assert done.returncode == 2
    assert "  - trigger  b" in done.stdout
    assert "ends its running occurrences with `withdrawn`" in done.stdout
    assert done.stderr == (
        f"ebbtide: this removes trigger b; without a terminal, confirm it with: ebbtide apply {mine} --yes\n"
    )
    assert current_manifest(kafka).number == 1
    done = ebbtide(kafka, "apply", mine, "--yes")
    assert (done.returncode, loaded(kafka)) == (0, ["a"])
    assert "manifest 2 is current: 2 files; to undo: `ebbtide rules rollback 1`\n" in done.stdout


@pytest.mark.parametrize(("answer", "status", "number"), [("y", 0, 2), ("n", 1, 1)])
def test_a_person_is_asked(kafka: str, mine: Path, answer: str, status: int, number: int) -> None:
    ebbtide(kafka, "apply", mine)
    (mine / "hello1.yaml").unlink()
    person, terminal = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "apply", str(mine)],
        env=os.environ | {"EBBTIDE_KAFKA": kafka, "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)  # only the command has it now, so that reading ends when the command does
    shown = read_until(person, "Remove trigger b?")
    os.write(person, f"{answer}\n".encode())
    read_until(person, "at the end")
    os.close(person)
    assert running.wait(30) == status, shown
    assert current_manifest(kafka).number == number


def test_a_folder_without_a_rule_is_refused_unless_that_is_meant(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine)
    write(mine, hello=("# all rules are in the other branch\n",))
    for more in ((), ("--yes",)):
        done = ebbtide(kafka, "apply", mine, *more)
        assert done.returncode == 2
        assert (
            "would remove all 2 rules and templates of the set default. To remove them, add --allow-empty"
            in done.stderr
        )
    assert loaded(kafka) == ["a", "b"]
    assert ebbtide(kafka, "apply", mine, "--allow-empty").returncode == 2
    assert ebbtide(kafka, "apply", mine, "--allow-empty", "--yes").returncode == 0
    assert as_json(kafka, "rules")["rules"] == [
        {**as_json(kafka, "rules")["rules"][0], "kind": "template", "name": "hello"}
    ]


def test_plan_and_dry_run_publish_nothing(kafka: str, mine: Path) -> None:
    for status, *command in ((2, "plan"), (0, "apply", "--dry-run")):
        done = ebbtide(kafka, *command, mine)
        assert (done.returncode, "3 added" in done.stdout) == (status, True)
    found = as_json(kafka, "plan", mine, status=2)
    assert {each["name"] for each in found["changes"]} == {"a", "b", "hello"}
    assert (found["current"], found["published"], found["removes"]) == (None, None, False)
    assert current_manifest(kafka) is None


def test_the_status_of_a_plan_says_no_change_a_change_or_an_error(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine)
    same = ebbtide(kafka, "plan", mine)
    assert (same.returncode, "nothing to do: manifest 1 already has this content" in same.stdout) == (0, True)
    write(mine, hello=(rule("a", "priority: 50\n"), rule("b")))
    in_other_words = as_json(kafka, "plan", mine, status=2)
    assert (in_other_words["changes"], in_other_words["same"]) == ([], False)
    write(mine, hello=(rule("a", "whn: 1 > 0\n"),))
    for wrong in ((mine,), (mine / "nowhere",), (mine, "--nope"), (mine, "--set", "a b"), ()):
        assert ebbtide(kafka, "plan", *wrong).returncode == 1


def test_a_saved_plan_is_published_as_it_was_planned(kafka: str, mine: Path, tmp_path: Path) -> None:
    ebbtide(kafka, "apply", mine)
    saved = tmp_path / "mine.plan"
    write(mine, hello=(rule("a", "priority: 60\n"), rule("b")))
    assert ebbtide(kafka, "plan", mine, "--out", saved).returncode == 2
    write(mine, hello=("# the folder is another one by now\n",))
    done = ebbtide(kafka, "apply", saved)
    assert (done.returncode, "priority: 50 → 60" in done.stdout) == (0, True)
    assert loaded(kafka) == ["a", "b"]
    again = ebbtide(kafka, "apply", saved)
    assert (again.returncode, "this plan was made against manifest 1" in again.stderr) == (2, True)
    assert ebbtide(kafka, "apply", saved, "--set", "shop").returncode == 2
    assert current_manifest(kafka).number == 2


def test_a_plan_counts_the_running_occurrences_that_it_touches(kafka: str, mine: Path, topic_prefix: str) -> None:
    write(mine, hello=(rule("a", "after: 1h\n"), rule("b", "after: 1h\n")))
    ebbtide(kafka, "apply", mine)
    changelog = state_changelog(f"{topic_prefix}streams")
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(changelog, 2)])[changelog].result(30)
    with Publisher(kafka) as publisher:
        for user, triggers in (("u1", ["a", "a"]), ("u2", ["b"]), ("u3", ["a", "b"])):
            publisher.send(changelog, *state_record(user, *triggers))
    write(mine, hello=(rule("a", "after: 2h\n"),))
    done = ebbtide(kafka, "plan", mine, "--format", "github")
    assert "3 running occurrences of 2 users: keep `after` as they began; look at ` u1 `, ` u3 `" in done.stdout
    assert "2 running occurrences of 2 users end with `withdrawn`; look at ` u2 `, ` u3 `" in done.stdout
    assert "- after: 1h\n+ after: 2h\n" in done.stdout
    found = {each["trigger"]: each["running"] for each in as_json(kafka, "plan", mine, status=2)["running"]}
    assert {name: (each["occurrences"], each["users"]) for name, each in found.items()} == {"a": (3, 2), "b": (2, 2)}
    assert "running" not in as_json(kafka, "plan", mine, "--no-running", status=2)


def test_a_plan_shows_its_effect_over_a_log_and_over_the_topics(
    kafka: str, mine: Path, tmp_path: Path, database_url: str, monkeypatch
) -> None:
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", database_url)
    ebbtide(kafka, "apply", mine)
    write(mine, hello=(rule("a", "cap: {max: 1, per: 1d}\n"), rule("b")))
    now, consent = datetime.now(UTC), {"marketing": Consent(granted=True, time=datetime.now(UTC))}
    events = [Event(id=f"e{n}", type="ping", user_id="u1", time=now + timedelta(seconds=n)) for n in range(3)]
    (log := tmp_path / "log.jsonl").write_bytes(b"\n".join(map(encode, events)))
    with Publisher(kafka) as publisher:
        publisher.send(PROFILES.name, b"u1", encode(Profile(user_id="u1", consent=consent)))
        publisher.send(PROFILES.name, b"u2", None)
        for event in events:
            publisher.send(EVENTS.name, b"u1", encode(event))
        publisher.send(EVENTS.name, b"u2", encode(events[0].model_copy(update={"user_id": "u2"})))
        publisher.send(EVENTS.name, b"u2", b"no JSON")
    for history, users in ((("--events", log), 1), (("--since", "30d"), 2)):
        effect = as_json(kafka, "plan", mine, "--no-running", *history, status=2)["effect"]
        assert [(each["trigger"], each["old"], each["new"]) for each in effect["sends"]] == [("a", 3, 1), ("b", 3, 3)]
        assert effect["users"]["fewer"] == 1
        assert effect["recorded"] == []
        assert ["first topic events:" in each for each in effect["skipped"]] == [True] * (users - 1)
        assert effect["events"] == 2 + users
    page = tmp_path / "page.html"
    shown = ebbtide(kafka, "plan", mine, "--no-running", "--since", "1h", "--html", page)
    text = page.read_text()
    assert "<h1>Plan of set default</h1>" in text
    assert "~ trigger  a" in text
    assert "cap: + " in text
    assert "<h2>Users who get fewer</h2>" in text
    assert "<h2>Sends a day</h2>" in text
    assert f"wrote {page}\n" in shown.stderr
    assert ebbtide(kafka, "plan", mine, "--html", page).returncode == 1
    assert "Effect over 4 events of" in shown.stdout
    assert "read topic events" in shown.stderr
    assert "ebbtide-plan" not in shown.stderr + shown.stdout + text, "the files of a folder that is gone"
    assert ebbtide(kafka, "plan", mine, "--since", "soon").returncode == 1


def test_one_team_s_apply_never_touches_another_s_rules(kafka: str, mine: Path, tmp_path: Path) -> None:
    news = write(tmp_path / "news", news=(rule("n", send="news"), SCORE))
    assert ebbtide(kafka, "apply", mine, "--set", "shop").returncode == 0
    done = ebbtide(kafka, "apply", news, "--set", "news")
    assert done.returncode == 0, done.stdout
    assert "removed" not in done.stdout
    assert loaded(kafka) == ["a", "b", "n"]
    write(mine, hello=(rule("a", "when: score.keen > 1\n"), rule("n")))
    done = ebbtide(kafka, "apply", mine, "--set", "shop", "--yes")
    assert (done.returncode, "duplicate trigger `n`: the other is at set news: " in done.stdout) == (1, True)
    write(mine, hello=(rule("a", "when: score.keen > 1\n"),))
    assert ebbtide(kafka, "apply", mine, "--set", "shop", "--yes").returncode == 0
    write(news, news=(rule("n", send="news"),))
    done = ebbtide(kafka, "apply", news, "--set", "news", "--yes")
    assert done.returncode == 1
    assert f"set shop: {mine}/hello0.yaml:6:7: error: unknown score `keen` [unknown-score]" in done.stdout
    assert "nothing was published: this set and the other sets do not load together" in done.stdout
    assert loaded(kafka) == ["a", "n"]


def test_rules_lists_what_is_current_with_owner_mode_and_who_applied_it_when(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine, "--set", "shop", "--by", "bob")
    write(mine, hello=(rule("a"), rule("b", "mode: shadow\n")))
    ebbtide(kafka, "apply", mine, "--set", "shop")
    out = ebbtide(kafka, "rules").stdout.splitlines()
    assert [line.split() for line in (out[0], out[2])] == [
        ["set", "kind", "name", "owner", "mode", "since", "at", "by"],
        ["shop", "trigger", "b", "crm", "shadow", "2", *out[2].split()[6:8], "ada"],
    ]
    assert out[-1] == "manifest 2 is current"
    rules = {each["name"]: each for each in as_json(kafka, "rules", "--set", "shop")["rules"]}
    assert (rules["a"]["since"], rules["a"]["by"], rules["b"]["since"], rules["b"]["by"]) == (1, "bob", 2, "ada")
    assert ebbtide(kafka, "rules", "--set", "shp").stderr == "ebbtide: no set 'shp'; did you mean `shop`?\n"


def test_a_paused_rule_is_listed_as_paused(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine)
    ebbtide(kafka, "pause", "trigger/a")
    listed = {each["name"]: each["paused"] for each in as_json(kafka, "rules")["rules"]}
    assert listed == {"a": ["trigger/a"], "b": [], "hello": []}
    assert "live, paused trigger/a" in ebbtide(kafka, "rules").stdout
    ebbtide(kafka, "pause", "purpose/marketing")
    assert "live, paused trigger/a and purpose/marketing" in ebbtide(kafka, "rules").stdout


def test_history_says_what_each_manifest_changed_and_rollback_goes_back(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine, "--by", "bob")
    (mine / "hello1.yaml").unlink()
    ebbtide(kafka, "apply", mine, "--yes")
    refused = ebbtide(kafka, "rules", "rollback", 9)
    assert (refused.returncode, "manifest 9 is not kept; kept: 1, 2" in refused.stderr) == (2, True)
    done = ebbtide(kafka, "rules", "rollback", 1, "--by", "eve")
    assert (done.returncode, "  + trigger  b" in done.stdout) == (0, True)
    assert loaded(kafka) == ["a", "b"]
    lines = ebbtide(kafka, "rules", "history").stdout.splitlines()
    assert [line.split()[3:] for line in lines[1:4]] == [
        ["bob", "3", "added"],
        ["ada", "1", "removed"],
        ["eve", "1", "added;", "restores", "manifest", "1"],
    ]
    listed = as_json(kafka, "rules", "history", "-n", 1)
    assert [(each["manifest"], each["by"], each["restores"]) for each in listed] == [(3, "eve", 1)]
    back = ebbtide(kafka, "rules", "rollback", 2)
    assert (back.returncode, "this removes trigger b" in back.stderr) == (2, True)


def test_show_prints_the_current_text(kafka: str, mine: Path) -> None:
    ebbtide(kafka, "apply", mine)
    done = ebbtide(kafka, "rules", "show", "a")
    assert done.stdout.endswith(f"since manifest 1\n{rule('a')}")
    assert ebbtide(kafka, "rules", "show", "template/hello").stdout.endswith(TEMPLATE)
    wrong = ebbtide(kafka, "rules", "show", "helo")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "ebbtide: no current rule or template is named 'helo'; did you mean `hello`?\n",
    )


def test_a_plan_is_refused_once_somebody_else_published(kafka: str, mine: Path) -> None:
    folder = read_folder(mine)
    number = read_rules(kafka).number
    publish(kafka, lambda log: plan_folder(log, folder), "ada")
    with pytest.raises(ManifestConflict, match="manifest 1 was published by ada meanwhile"):
        publish(kafka, lambda log: plan_folder(log, folder), "bob", number)
    assert current_manifest(kafka).number == 1
