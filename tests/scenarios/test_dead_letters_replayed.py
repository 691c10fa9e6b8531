"""Dead letters sent again once their cause is mended: each once, the right one, to the right place."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from drivers import command_line
from drivers.command_line import Done
from drivers.running_senders import wait_until
from drivers.whole_pipeline import INPUTS, PARTITIONS, THANKS, Pipeline, orders, pipeline

from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from schemas.codec import decode, encode, partition_for
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter, b64
from schemas.events import Event
from schemas.profiles import Profile
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, PROFILES
from schemas.vocabulary import DeadLetterCause
from triggers.language.diagnostics import SourceFile

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

BROKEN = SourceFile(
    "pricey.yaml",
    """
trigger: pricey
purpose: transactional
on: {event: order_completed, where: event.total > 100}
send: {template: thanks, data: {order_id: event.order_id}}
""",
)
MENDED = SourceFile("pricey.yaml", BROKEN.text.replace("event.total > 100", 'event.total == "a lot"'))
WRONG = (partition_for(b"astray", PARTITIONS) + 1) % PARTITIONS
UNAPPLIED = "events[0]@700"
"""An order at which a rule broke the worker's step: nothing of it was applied."""


def test_only_dead_letters_that_can_be_replayed_safely_are_sent_again_and_only_once(servers, database_url, tmp_path):
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS, BROKEN)
        publish_the_bad_ones(run)
        run.start_streams()
        wait_applied(run)
        letters = [letter for letter in listed(run) if letter["topic"] == EVENTS.name and letter["place"] != UNAPPLIED]
        places = {letter["cause"]: letter["place"] for letter in letters}
        assert set(places) == {"not_json", "rule_error", "misrouted"}
        assert commands(run) == {"thanks": ["priced"]}

        look_around(run, places["not_json"])
        run.apply(THANKS, MENDED)
        planned = replay(run, "--dry-run")
        assert reasons(planned) == {
            places["not_json"]: "it still cannot be read (not_json); fix it and publish it again",
            places["rule_error"]: "all other rules applied it, and its id is remembered",
            UNAPPLIED: None,
            places["misrouted"]: None,
            f"profiles[{WRONG}]@0": "it would overwrite a newer record of its key",
        }
        assert (planned["sent"], planned["skipped"]) == (0, 3)
        assert not any(letter["replayed"] for letter in listed(run))

        run.publish_events(orders(["priced"] * 64, datetime.now(UTC), "later"))
        assert replay(run, "--yes")["sent"] == 2
        assert replay(run, "--yes", "--force", "--place", places["rule_error"])["sent"] == 1
        wait_applied(run)
        assert sorted(commands(run)["pricey"]) == ["defect", "priced"]
        assert commands(run)["thanks"].count("astray") == 1

        again = [m for m in read_all(run.kafka, EVENTS.name) if m.headers()]
        assert {dict(m.headers())["ebbtide-replayed"].decode(): (m.key(), m.partition()) for m in again} == {
            places["misrouted"]: (b"astray", partition_for(b"astray", PARTITIONS)),
            places["rule_error"]: (b"priced", partition_for(b"priced", PARTITIONS)),
            UNAPPLIED: (b"defect", partition_for(b"defect", PARTITIONS)),
        }
        second = replay(run, "--yes", "--force", "--topic", "events", "--cause", "misrouted")
        assert (second["sent"], second["skipped"]) == (0, 1)
        assert "replayed before" in second["records"][0]["skipped"]
        assert sorted(letter["place"] for letter in listed(run) if letter["replayed"]) == sorted(
            [places["misrouted"], places["rule_error"], UNAPPLIED]
        )
        once_more = replay(run, "--dry-run", "--again", "--force", "--limit", "1", "--topic", "events")
        assert sum(record["skipped"] is None for record in once_more["records"]) == 1


def look_around(run: Pipeline, not_json: str) -> None:
    """What is shown is whole and safe; what cannot be done is one line."""
    assert "key    priced\nvalue  {\\x1b[31mred \\xff\nnot json\n" in ebbtide(run, "show", not_json).stdout
    assert ebbtide(run, "show", "events[0]@999").returncode == 1
    assert ebbtide(run, "replay", "--cause", "invalid", "--yes").returncode == 1
    assert ebbtide(run, "replay", "--force").returncode == 1  # nobody says yes
    wrong = ebbtide(run, "replay", "--since", "yesterday")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert wrong.stderr.startswith("ebbtide: 'yesterday' is not a time; write 2h for two hours ago")


def publish_the_bad_ones(run: Pipeline) -> None:
    """Of each kind one: not JSON, one that fails a rule, an event and a profile in a wrong partition; and UNAPPLIED."""
    order: dict[str, Any] = {"type": "order_completed", "time": datetime.now(UTC)}
    fails = Event(id="e1", user_id="priced", properties={"order_id": "x", "total": "a lot"}, **order)
    astray = Event(id="e2", user_id="astray", properties={"order_id": "y", "total": 1}, **order)
    defect = Event(id="e3", user_id="defect", properties={"order_id": "z", "total": "a lot"}, **order)
    letter = DeadLetter(
        topic=EVENTS.name,
        partition=0,
        offset=700,
        cause=DeadLetterCause.RULE_ERROR,
        detail="TypeError: a defect",
        reader="streams",
        time=datetime.now(UTC),
        key=b64(b"defect"),
        value=b64(encode(defect)),
    )
    with Publisher(run.kafka) as publisher:
        publisher.send(DEAD_LETTERS.name, b"defect", encode(letter))
        publisher.send(EVENTS.name, b"priced", b"{\x1b[31mred \xff\nnot json")
        publisher.send(EVENTS.name, b"priced", encode(fails))
        publisher.send(EVENTS.name, b"astray", encode(astray), partition=WRONG)
        publisher.send(PROFILES.name, b"astray", encode(Profile(user_id="astray", zone="Asia/Tokyo")), partition=WRONG)
        publisher.flush()
        publisher.send(PROFILES.name, b"astray", encode(Profile(user_id="astray", zone="Europe/Berlin")))


def wait_applied(run: Pipeline) -> None:
    """Waits until the stream worker stands at the end of its inputs."""
    with Progress(run.kafka) as progress:
        wait_until(lambda: progress.lag("ebbtide-streams", INPUTS) == 0, "all is applied")


def commands(run: Pipeline) -> dict[str, list[str]]:
    """Who is mailed by which trigger, in order."""
    found: dict[str, list[str]] = {}
    for message in read_all(run.kafka, COMMANDS.name):
        command = decode(SendCommand, message.value())
        if not json.loads(command.occurrence)[0].startswith("later"):
            found.setdefault(command.trigger, []).append(command.user_id)
    return found


def listed(run: Pipeline) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ebbtide(run, "list", "--json").stdout.splitlines()]


def replay(run: Pipeline, *arguments: str) -> dict[str, Any]:
    done = ebbtide(run, "replay", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def reasons(planned: dict[str, Any]) -> dict[str, str | None]:
    """Why each is skipped; of those that name an instant, the beginning."""
    found = {record["place"]: record["skipped"] for record in planned["records"]}
    return {place: reason.split(" until ")[0] if reason else None for place, reason in found.items()}


def ebbtide(run: Pipeline, *arguments: str) -> Done:
    variables = {"EBBTIDE_KAFKA": run.kafka, "EBBTIDE_DATABASE_URL": run.harbour.database_url}  # the audit's
    return command_line.ebbtide("dead-letters", *arguments, **variables)
