"""Outcomes of mails that the ledger does not know, read before the profile of their user."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, lasting_harbour, wait_until

from infra.kafka.connection import Connection
from schemas.codec import partition_for
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.topics import COMMANDS, OUTCOMES, PROFILES
from schemas.vocabulary import TRANSACTIONAL, LedgerState, OutcomeKind
from senders.app import user_partitions

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def delivery(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """One delivery for all tests of this file; each test uses users of its own."""
    yield from lasting_harbour(servers, tmp_path_factory.mktemp("delivery"))


@pytest.fixture(scope="module")
def template(delivery: Harbour) -> str:
    return delivery.publish_template()


@dataclass(frozen=True)
class Stranger:
    """A user without a profile."""

    id: str
    delivery: Harbour

    @property
    def address(self) -> str:
        return f"{self.id}@example.net"

    def report(self, kind: OutcomeKind, at: datetime, hard: bool | None = None) -> None:
        """Publishes an outcome of a mail that the ledger does not know, and waits until it is read for good."""
        lost = {"command_id": f"lost-{self.id}", "user_id": self.id, "kind": kind, "time": at, "hard": hard}
        self.delivery.publish(OUTCOMES.name, self.id, Outcome(id=f"{kind}-{self.id}", **lost))
        partition = partition_for(self.id.encode(), user_partitions(Connection(self.delivery.kafka)))
        query = "SELECT 1 FROM recipients_progress WHERE topic = %s AND partition = %s AND as_of > %s"
        published_at = datetime.now(UTC)
        wait_until(lambda: self.delivery.rows(query, OUTCOMES.name, partition, published_at), "the outcome is read")

    def appear(self, address: str | None) -> None:
        """Publishes the profile, and waits until the view has it."""
        self.delivery.publish(PROFILES.name, self.id, Profile(user_id=self.id, address=address))
        query = "SELECT 1 FROM recipients WHERE user_id = %s AND address IS NOT DISTINCT FROM %s"
        wait_until(lambda: self.delivery.rows(query, self.id, address), "the profile is in the view")

    def suppressions(self) -> list[tuple[str, str]]:
        """What the outcome brought: scope and reason."""
        query = "SELECT scope, reason FROM suppressions WHERE command_id = %s"
        return self.delivery.rows(query, f"lost-{self.id}")

    def answer(self, template: str) -> tuple[str, str | None]:
        """What becomes of a transactional mail to the user: its state, and the reason."""
        command = a_command(self.id, template, purpose=TRANSACTIONAL)
        self.delivery.publish(COMMANDS.name, self.id, command)
        state = self.delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.SUPPRESSED)
        return state, self.delivery.rows("SELECT reason FROM ledger WHERE command_id = %s", command.id)[0][0]


SUPPRESSED = (LedgerState.SUPPRESSED, "suppressed")
NOW = datetime.now(UTC) - timedelta(seconds=5)


@pytest.fixture
def stranger(delivery: Harbour) -> Stranger:
    return Stranger(f"unknown-{uuid.uuid4().hex[:12]}", delivery)


@pytest.mark.parametrize(
    ("kind", "hard"),
    [(OutcomeKind.COMPLAINED, None), (OutcomeKind.UNSUBSCRIBED, None), (OutcomeKind.BOUNCED, True)],
)
def test_an_outcome_takes_effect_when_a_profile_brings_the_address(
    stranger: Stranger, template: str, kind: OutcomeKind, hard: bool | None
) -> None:
    stranger.report(kind, NOW, hard)
    stranger.appear(None)
    assert stranger.suppressions() == []
    stranger.appear(stranger.address)
    assert stranger.suppressions() == [("*", kind.value)]
    assert stranger.answer(template) == SUPPRESSED


def test_it_takes_effect_after_a_restart(stranger: Stranger, template: str) -> None:
    stranger.report(OutcomeKind.COMPLAINED, NOW)
    stranger.delivery.stop()
    stranger.delivery.start()
    stranger.appear(stranger.address)
    assert stranger.answer(template) == SUPPRESSED


def test_it_takes_effect_in_a_view_that_is_read_again_from_the_topics(stranger: Stranger, template: str) -> None:
    stranger.report(OutcomeKind.COMPLAINED, NOW)
    stranger.appear(stranger.address)
    stranger.delivery.stop()
    with psycopg.connect(stranger.delivery.database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE suppressions, pending_suppressions, recipients, recipients_progress")
    stranger.delivery.start()
    wait_until(stranger.suppressions, "the suppression is there again")
    assert stranger.answer(template) == SUPPRESSED


def test_a_user_who_was_reinstated_meanwhile_gets_mail(stranger: Stranger, template: str) -> None:
    stranger.report(OutcomeKind.COMPLAINED, NOW)
    stranger.report(OutcomeKind.REINSTATED, NOW + timedelta(seconds=1))
    stranger.appear(stranger.address)
    assert stranger.answer(template) == (LedgerState.ACCEPTED, None)
