"""An export has what each place keeps of a person, and nothing of others."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from drivers.command_line import ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from cli.operations.publish import publish_event, publish_profile
from infra.kafka.publisher import Publisher
from infra.postgres.migrate import migrate
from schemas.codec import encode
from schemas.deadletters import dead_letter
from schemas.decisions import Decision
from schemas.events import Event
from schemas.profiles import Consent, Profile
from schemas.topics import DEAD_LETTERS, DECISIONS
from schemas.vocabulary import DeadLetterCause, DecisionOutcome
from web.consent import ledger
from web.consent.ledger import ConsentRecord
from web.profiles.once_reader import Place
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import encode as encode_state
from web.profiles.profile_state import of_patch

pytestmark = pytest.mark.servers
NOW = datetime.now(UTC)
NOW_US = int(NOW.timestamp() * 1_000_000)


class PersonWorld:
    """A person and another, who are known in every place."""

    def __init__(self, servers: RealServers, database_url: str) -> None:
        self.kafka, self.database_url = servers.kafka, database_url
        self.user, self.other, self.visitor = (f"{name}-{uuid.uuid4().hex[:12]}" for name in ("ann", "bob", "visit"))
        self.key = "a secret of the tests alone"
        have_topics(self.kafka)
        migrate(database_url)
        for user in (self.user, self.other):
            self._publish(user)
            self._store(user)
        self._publish_event(self.visitor)

    def command(self, *arguments: str) -> tuple[int, str]:
        done = ebbtide(
            *arguments,
            EBBTIDE_KAFKA=self.kafka,
            EBBTIDE_DATABASE_URL=self.database_url,
            EBBTIDE_LEDGER_URL=self.database_url,
            EBBTIDE_SUPPRESSION_KEY=self.key,
        )
        return done.returncode, done.stdout

    def _publish(self, user: str) -> None:
        consent = {"marketing": Consent(granted=True, time=NOW, method="form", text_version="7")}
        publish_profile(self.kafka, Profile(user_id=user, address=f"{user}@mail.example", consent=consent))
        self._publish_event(user)
        decision = Decision(
            id=f"d-{user}", trigger="thanks", rule_hash="", user_id=user, occurrence=f"o-{user}", step="send",
            outcome=DecisionOutcome.SEND, decided_at=NOW,
        )  # fmt: skip
        letter = dead_letter(
            ("events", 0, 1), user.encode(), b"no JSON", DeadLetterCause.NOT_JSON, "", reader="test", time=NOW
        )
        with Publisher(self.kafka) as publisher:
            publisher.send(DECISIONS.name, user.encode(), encode(decision))
            publisher.send(DEAD_LETTERS.name, user.encode(), encode(letter))

    def _publish_event(self, user: str) -> None:
        publish_event(self.kafka, Event(id=f"e-{user}", type="viewed", user_id=user, time=NOW, properties={"of": user}))

    def _store(self, user: str) -> None:
        consent = {"marketing": Consent(granted=True, time=NOW, method="form", text_version="7")}
        patch = ProfilePatch(user, NOW_US, "old shop", {"address": f"{user}@mail.example"}, {"plan": "gold"}, consent)
        with psycopg.connect(self.database_url) as connection:
            connection.execute("INSERT INTO profiles VALUES (%s, 1, %s)", [user, encode_state(of_patch(patch))])
            said = Profile(user_id=user, consent=consent)
            ledger.write(connection, [ConsentRecord(said, Place(0, 0, NOW_US))])
            connection.execute(
                "INSERT INTO profile_imports (id, file, source, time_us) VALUES (%s, 'old.csv', 'old shop', 0) "
                "ON CONFLICT DO NOTHING",
                ["1"],
            )
            if user == self.user:
                connection.execute("INSERT INTO identity_links VALUES (%s, %s, %s)", [self.visitor, user, NOW_US])
            connection.execute(
                "INSERT INTO decisions (id, time, trigger, rule_hash, user_id, occurrence, step, outcome, reason, "
                "event_ids, gates, inputs) "
                "VALUES (%s, now(), 'thanks', '', %s, '', 'send', 'drop', 'no_consent', '{}', '[]', '{}')",
                [f"d-{user}", user],
            )
            connection.execute(
                "INSERT INTO engagement (id, time, command_id, user_id, kind, provider) "
                "VALUES (%s, now(), 'c', %s, 'clicked', '')",
                [f"k-{user}", user],
            )


@pytest.fixture
def world(servers: RealServers, database_url: str) -> PersonWorld:
    return PersonWorld(servers, database_url)


def test_an_export_has_every_place_and_nobody_else(world: PersonWorld, tmp_path: Path) -> None:
    status, _ = world.command("privacy", "export", world.user, "--out", str(tmp_path / "ann"))

    assert status == 0
    text = (tmp_path / "ann" / "person.json").read_text()
    found = json.loads(text)
    assert found["profile"]["profile store"]["attributes"]["plan"]["value"] == "gold"
    assert found["profile"]["topic profiles"][0]["record"]["address"] == f"{world.user}@mail.example"
    assert found["consent"]["profile store"]["marketing"]["text_version"] == "7"
    [entry] = found["consent"]["ledger of consent"]["entries"]
    assert (entry["purpose"], entry["answer"], entry["source"]) == ("marketing", "granted", "old shop")
    events = [each["record"]["id"] for each in found["events"]["topic events"]]
    assert sorted(events) == sorted([f"e-{world.user}", f"e-{world.visitor}"])
    assert found["decisions"]["table decisions"][0]["reason"] == "no_consent"
    assert found["decisions"]["topic decisions"][0]["record"]["id"] == f"d-{world.user}"
    assert found["engagement"]["table engagement"][0]["kind"] == "clicked"
    assert found["links"]["table identity_links"][0]["anonymous_id"] == world.visitor
    assert found["imports"]["table profile_imports"][0]["file"] == "old.csv"
    assert found["dead_letters"]["topic dead-letters"][0]["record"] == "no JSON"
    assert world.other not in text
    html = (tmp_path / "ann" / "person.html").read_text()
    assert world.user in html
    assert "gold" in html
    assert {(tmp_path / "ann" / name).stat().st_mode & 0o777 for name in ("person.json", "person.html")} == {0o600}


def test_nothing_is_kept_of_a_stranger(world: PersonWorld) -> None:
    status, output = world.command("privacy", "export", "a stranger", "--json")
    assert status == 1
    assert json.loads(output)["events"] == {}
