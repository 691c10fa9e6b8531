"""An erased person is nowhere any more, within a minute; others lose nothing; and killed runs are taken up."""

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from drivers.busy_cleaner import busy_cleaner
from drivers.command_line import Done, ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import a_command, wait_until
from drivers.warm_interpreter import WarmProcess, run_warm
from drivers.whole_pipeline import COMMAND_LINE, THANKS, Pipeline, orders, pipeline

from cli.privacy.compaction import live_settings
from infra.kafka.progress import Progress
from infra.kafka.topic_reader import read_all
from infra.local.native import psql_program
from schemas.profiles import Profile
from schemas.topics import COMMANDS, CONTROL, FORGETTING, PROFILES, RULES
from streams.decisions.evaluate import state_changelog
from streams.runtime.snapshot import keys_in
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import encode as encode_state
from web.profiles.profile_state import of_patch

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

CHANGELOG = state_changelog("ebbtide-streams")
KEYS = {"erasure_key": "another secret of the tests"}
OTHERS = [f"bob-{number}" for number in range(20)]


def secret(person: str) -> str:
    """An attribute of the person: its value is nowhere any more after the erasure."""
    return f"likes-{person[::-1]}"


def someone(name: str) -> str:
    """An id that is part of no other text."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


class Town:
    """A pipeline with people in every place."""

    def __init__(self, made: Pipeline) -> None:
        self.pipeline = made
        self.kafka = made.kafka
        self.data_dir = made.directory / "faust"

    def settle(self, people: list[str]) -> None:
        """People with profiles, orders, mails and visits, all recorded; their states in snapshots."""
        for person in people:
            self.pipeline.publish_users([person], attributes={"likes": secret(person)})
        self.pipeline.publish_events(orders(people, datetime.now(UTC), f"order-of-{people[0]}"))
        for person in people:
            self._visit(person)
        self.pipeline.wait_drained()
        wait_until(lambda: self.in_snapshots(people[0]), "the states are in snapshots")

    def _visit(self, person: str) -> None:
        """What web keeps of a person."""
        patch = ProfilePatch(person, 1, "shop", {"address": f"{person}@mail.example"}, {"likes": secret(person)})
        now = datetime.now(UTC)
        for query, values in (
            ("INSERT INTO profiles VALUES (%s, 1, %s)", (person, encode_state(of_patch(patch)))),
            ("INSERT INTO identity_links VALUES (%s, %s, 1)", (f"visit-{person}", person)),
            ("INSERT INTO visitor_events VALUES (%s, %s, 0, 0, %s)", (f"visit-{person}", now, secret(person).encode())),
            ("INSERT INTO web_outbox (user_id) VALUES (%s)", (person,)),
            (
                "INSERT INTO confirmations (command_id, user_id, kind, purposes, address, language, text_version, "
                "made_at, expires_at, mailbox) VALUES (%s, %s, 'new_address', '{}', %s, 'en', '1', %s, %s, '')",
                (f"c-{person}", person, f"new-{person}@mail.example", now, now + timedelta(days=1)),
            ),
            (
                "INSERT INTO links VALUES (%s, %s)",
                (os.urandom(8), f"https://shop.example/?mail={person}%40mail.example"),
            ),
            ("INSERT INTO pending_suppressions VALUES (%s, '*', 'complained', %s, 'c')", (person, now)),
        ):
            self.write(query, *values)
        self.pipeline.publish_events(orders([f"visit-{person}"], now, f"visit-{person}"))

    def write(self, query: str, *values: object) -> None:
        self.pipeline.harbour.rows(f"{query} RETURNING 1", *values)

    @property
    def variables(self) -> dict[str, str]:
        harbour = self.pipeline.harbour
        return {
            "EBBTIDE_KAFKA": self.kafka,
            "EBBTIDE_DATABASE_URL": harbour.database_url,
            "EBBTIDE_LEDGER_URL": harbour.ledger_url,
            "EBBTIDE_SUPPRESSION_KEY": harbour.settings["suppression_key"],
            "EBBTIDE_ERASURE_KEY": KEYS["erasure_key"],
            "EBBTIDE_DATA_DIR": str(self.data_dir),
        }

    def command(self, *arguments: str) -> Done:
        return ebbtide(*arguments, **self.variables)

    def erase(self, person: str, wait: str = "60s") -> dict[str, Any]:
        done = self.command("privacy", "erase", person, "--yes", "--json", "--wait", wait)
        receipt: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == receipt["complete"], done
        return receipt

    def begin_erasing(self, person: str) -> WarmProcess:
        """The command as a process, to be killed."""
        arguments, log = ("privacy", "erase", person, "--yes", "--json"), self.pipeline.directory / "erasing.log"
        return run_warm("streams.app", COMMAND_LINE, os.environ | self.variables, log, arguments)

    def in_snapshots(self, person: str) -> bool:
        return any(person.encode() in keys_in(path) for path in self.data_dir.glob(f"**/{CHANGELOG}/*.snapshot"))

    def found(self, person: str) -> list[str]:
        """Where a value of the person is: the id, the address, the attribute or a visit."""
        dump = subprocess.run(
            [Path(psql_program(Path(".local").absolute())).with_name("pg_dump"), self.pipeline.harbour.database_url],
            capture_output=True,
            check=True,
        ).stdout
        places = {"pg_dump": [dump]}
        for topic in (PROFILES.name, CHANGELOG, RULES.name, CONTROL.name):
            places[topic] = [message.value() or b"" for message in read_all(self.kafka, topic)]
        files = [path.read_bytes() for path in self.data_dir.rglob("*") if path.is_file()]
        places["files of stream workers"] = files
        needles = [each.encode() for each in (person, secret(person))]
        return [place for place, texts in places.items() if any(needle in text for text in texts for needle in needles)]

    def books(self) -> tuple[Counter[str], list[tuple[Any, ...]]]:
        """The mails of others, and their rows."""
        users = ",".join(f"'{each}'" for each in OTHERS)
        return self.pipeline.mailed(), self.pipeline.harbour.rows(
            f"SELECT 'decisions', user_id, count(*), count(DISTINCT id) FROM decisions "
            f"WHERE user_id IN ({users}) GROUP BY 2 "
            f"UNION ALL SELECT 'mails', user_id, count(*), 0 FROM ledger WHERE user_id IN ({users}) GROUP BY 2 "
            f"UNION ALL SELECT 'recipients', user_id, 1, 0 FROM recipients WHERE user_id IN ({users}) "
            f"UNION ALL SELECT 'profiles', user_id, version, 0 FROM profiles WHERE user_id IN ({users}) ORDER BY 1, 2"
        )


@pytest.fixture(scope="module")
def town(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    database_url = servers.create_database()
    os.environ["EBBTIDE_SNAPSHOT_INTERVAL_S"] = "1"
    try:
        with pipeline(servers.kafka, database_url, tmp_path_factory.mktemp("town"), **KEYS) as made:
            made.apply(THANKS)
            made.start_streams()
            made.harbour.start()
            town = Town(made)
            town.settle(OTHERS)
            yield town
    finally:
        del os.environ["EBBTIDE_SNAPSHOT_INTERVAL_S"]
        servers.drop_database(database_url)


def test_an_erased_person_is_nowhere_within_a_minute(town: Town) -> None:
    ann = someone("ann")
    town.settle([ann])
    assert len(town.found(ann)) >= 4, "the test looks where the person is"
    before = town.books()
    began_s = time.monotonic()

    receipt = town.erase(ann)

    assert time.monotonic() - began_s < 60
    assert receipt["complete"], receipt
    assert receipt["known"]
    assert town.found(ann) == []
    assert town.books() == before, "and nobody else has lost anything"
    assert live_settings(town.kafka, PROFILES.name).items() >= FORGETTING.items()
    assert live_settings(town.kafka, CHANGELOG).items() >= FORGETTING.items()
    ends = {each["place"]: each["end"] for each in receipt["places"]}
    assert ends["topic events"] == "expires"
    assert ends["table recipients"] == "gone"
    assert ann not in json.dumps(receipt), "the receipt can be kept"
    with busy_cleaner(town.kafka):  # it is shown how long an ordinary one takes
        _nothing_comes_back(town, ann)
        _a_second_run_changes_nothing(town, ann)


def _nothing_comes_back(town: Town, ann: str) -> None:
    """A backend goes on publishing, and has a mail sent."""
    harbour = town.pipeline.harbour
    harbour.publish(PROFILES.name, ann, Profile(user_id=ann, address=f"{ann}@mail.example"))
    command = a_command(ann, harbour.publish_template(), to=f"{ann}@mail.example", purpose="transactional")
    harbour.publish(COMMANDS.name, ann, command)
    assert harbour.wait_for(command, "suppressed") == "suppressed"
    assert harbour.rows("SELECT * FROM recipients WHERE user_id = %s", ann) == []
    assert harbour.rows("SELECT * FROM removed_users WHERE user_id = %s", ann) == []


def _a_second_run_changes_nothing(town: Town, ann: str) -> None:
    receipt = town.erase(ann)
    assert receipt["complete"], receipt
    assert town.found(ann) == []
    ends = _ends(town.kafka)
    again = town.erase(ann)
    assert again["erased_at"] == receipt["erased_at"]
    assert _ends(town.kafka) == ends, "not even a record is written"


def _ends(kafka: str) -> dict[int, int]:
    with Progress(kafka) as progress:
        return progress.ends(PROFILES.name).high


@pytest.fixture
def _busy_cleaner(town: Town) -> Iterator[None]:
    with busy_cleaner(town.kafka):
        yield


def test_a_stranger_gets_an_honest_receipt(town: Town) -> None:
    receipt = town.erase("a stranger")
    assert receipt["complete"]
    assert not receipt["known"]
    assert {each["done"] for each in receipt["places"] if each["place"].startswith("table")} == {"nothing was there"}


@pytest.mark.usefixtures("_busy_cleaner")
def test_a_readmitted_person_is_known_again(town: Town) -> None:
    eve = someone("eve")
    town.erase(eve)
    assert town.command("privacy", "readmit", eve).returncode == 0
    assert town.command("privacy", "readmit", eve).returncode == 1
    town.pipeline.publish_users([eve])
    wait_until(lambda: town.pipeline.harbour.rows("SELECT 1 FROM recipients WHERE user_id = %s", eve), "eve is back")


@pytest.mark.usefixtures("_busy_cleaner")
def test_killed_runs_and_workers_are_taken_up(town: Town, seed: int) -> None:
    kim = someone("kim")
    town.settle([kim])
    before, rng = town.books(), random.Random(seed)
    for _ in range(4):
        run = town.begin_erasing(kim)
        time.sleep(rng.uniform(1.0, 8.0))
        if rng.random() < 0.5:
            town.pipeline.end_streams(signal.SIGKILL)
            town.pipeline.start_streams()
        run.kill()
        run.wait()

    receipt = town.erase(kim)

    assert receipt["complete"], receipt
    assert town.found(kim) == []
    assert town.books() == before
    assert live_settings(town.kafka, CHANGELOG).items() >= FORGETTING.items()
