"""What delivery hears of a profile that cannot be read, of a tombstone, and of an outcome that says no."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, Tail, a_command, harbour, have_topics, wait_until
from psycopg.sql import SQL

from infra.kafka.connection import Connection
from infra.postgres.migrate import migrate
from schemas.codec import decode, partition_for
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.topics import COMMANDS, DEAD_LETTERS, OUTCOMES, PROFILES
from schemas.vocabulary import TRANSACTIONAL, LedgerState
from senders.app import user_partitions

pytestmark = pytest.mark.servers
YES = {"granted": True, "time": datetime.now(UTC).isoformat()}
NO = YES | {"granted": False}


@pytest.fixture(scope="module")
def delivery(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """One delivery that runs for all tests of this file; each test uses users and commands of its own."""
    have_topics(servers.kafka)
    url = servers.create_database()
    migrate(url)
    for running in harbour(servers.kafka, url, tmp_path_factory.mktemp("delivery")):
        running.start()
        yield running
    servers.drop_database(url)


@pytest.fixture(scope="module")
def template(delivery: Harbour) -> str:
    return delivery.publish_template()


def answer(delivery: Harbour, user: str, template: str, **changes: Any) -> tuple[str, str | None, list[str]]:
    """What becomes of a command: its state, the reason, and whom the mail went to."""
    command: SendCommand = a_command(user, template, **changes)
    delivery.publish(COMMANDS.name, user, command)
    state = delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.SUPPRESSED)
    [[reason]] = delivery.rows("SELECT reason FROM ledger WHERE command_id = %s", command.id)
    mails = [mail.rcpt_to for mail in delivery.sink.messages() if command.id.encode() in mail.raw]
    return state, reason, mails


def published(delivery: Harbour, user: str, value: bytes | dict[str, Any] | None, **where: int) -> None:
    raw = orjson.dumps(value) if isinstance(value, dict) else value
    delivery.publish(PROFILES.name, user, raw, **where)


def heard(delivery: Harbour, user: str, *, granted: bool) -> None:
    """Waits until the view knows this of the user's consent to marketing: commands may come before it does."""
    asked = "SELECT coalesce(consent->'marketing'->'granted' = 'true', false) FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(asked, user) == [(granted,)], f"consent {granted} in the view")


def whole(user: str, **fields: Any) -> dict[str, Any]:
    return {"user_id": user, "address": f"{user}@example.net", "consent": {"marketing": YES}} | fields


@pytest.mark.parametrize(
    "spoilt",
    [
        {"address": "a b@example.net", "consent": {"marketing": NO}},
        {"attributes": {"a": "\0"}},
        {"attributes": []},
        {"locale": "x" * 36, "consent": {"marketing": NO}},
        {"consent": {"marketing": False}},
        {"user_id": "somebody-else"},
        b"{",
    ],
)
def test_marketing_stops_at_a_newer_profile_that_cannot_be_read_until_one_can(
    delivery: Harbour, template: str, spoilt: bytes | dict[str, Any]
) -> None:
    user = delivery.publish_user()
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
    published(delivery, user, whole(user) | spoilt if isinstance(spoilt, dict) else spoilt)
    heard(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")
    published(delivery, user, whole(user))
    heard(delivery, user, granted=True)
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED


def test_an_unreadable_profile_is_a_dead_letter_of_the_feed(delivery: Harbour) -> None:
    tail = Tail(delivery.kafka, DEAD_LETTERS.name)
    user = delivery.publish_user()
    tree = b'{"user_id": "%s", "attributes": {"a": %s}}' % (user.encode(), b"[" * 300 + b"]" * 300)
    published(delivery, user, tree)

    def mine() -> list[DeadLetter]:
        letters = [decode(DeadLetter, value) for value in tail.read()]
        return [letter for letter in letters if letter.original_value() == tree]

    [letter] = wait_until(mine, "a dead letter")
    tail.close()
    assert (letter.reader, letter.detail) == ("ebbtide-recipients", "attributes: nested deeper than 100 levels")


@pytest.mark.parametrize(
    ("said", "goes_to"),
    [
        ({"address": "new@example.net"}, "new@example.net"),
        ({"address": "a b@example.net"}, "ann+{user}@example.net"),
        ({"address": None}, None),
        ({"address": ""}, None),
    ],
)
def test_transactional_mail_goes_where_an_unreadable_profile_says_or_to_the_last_known_address(
    delivery: Harbour, template: str, said: dict[str, Any], goes_to: str | None
) -> None:
    user = delivery.publish_user()
    published(delivery, user, whole(user, locale="x" * 36) | said)
    heard(delivery, user, granted=False)
    state, reason, mails = answer(delivery, user, template, purpose=TRANSACTIONAL)
    if goes_to is None:
        assert (state, reason) == (LedgerState.SUPPRESSED, "no_recipient")
    else:
        assert (state, mails) == (LedgerState.ACCEPTED, [goes_to.format(user=user)])


def test_a_no_in_a_wrong_partition_is_heard(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    partitions = user_partitions(Connection(delivery.kafka))
    wrong = (partition_for(user.encode(), partitions) + 1) % partitions
    published(delivery, user, whole(user, consent={"marketing": NO}), partition=wrong)
    heard(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")


def test_a_profile_that_the_database_refuses_withdraws_marketing(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
    with psycopg.connect(delivery.database_url, autocommit=True) as connection:
        check = SQL("ALTER TABLE recipients ADD CHECK (zone IS NULL OR user_id <> {})")
        connection.execute(check.format(user))
    published(delivery, user, whole(user, zone="Europe/Berlin"))
    heard(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")


@pytest.mark.parametrize("wrong", [{"time": "yesterday"}, {"url": "x" * 3000}, {"id": None}, {"machine": "\0"}])
@pytest.mark.parametrize(("kind", "scope"), [("unsubscribed", "marketing"), ("complained", "*")])
def test_a_no_is_heard_of_an_outcome_that_cannot_be_read_whole(
    delivery: Harbour, template: str, kind: str, scope: str, wrong: dict[str, Any]
) -> None:
    user = delivery.publish_user()
    command = a_command(user, template)
    delivery.publish(COMMANDS.name, user, command)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    said = {"id": command.id, "command_id": command.id, "user_id": user, "kind": kind, "time": YES["time"]}
    delivery.publish(OUTCOMES.name, user, orjson.dumps(said | wrong))
    asked = "SELECT scope FROM suppressions WHERE command_id = %s"
    assert wait_until(lambda: delivery.rows(asked, command.id), "a suppression") == [(scope,)]
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "suppressed")


def test_what_waits_for_a_removed_user_ends_also_where_the_rule_wrote_the_address(delivery: Harbour) -> None:
    user = delivery.publish_user()
    waiting = a_command(user, "0" * 32, purpose=TRANSACTIONAL, to="other@example.net")  # of a template that never comes
    delivery.publish(COMMANDS.name, user, waiting)
    delivery.wait_for(waiting, LedgerState.ADMITTED)
    published(delivery, user, None)
    delivery.wait_for(waiting, LedgerState.SUPPRESSED)
    asked = "SELECT reason, next_attempt_at, unpublished FROM ledger WHERE command_id = %s"
    wait_until(lambda: delivery.rows(asked, waiting.id) == [("no_recipient", None, False)], "the outcome")
    assert delivery.rows("SELECT 1 FROM recipients WHERE user_id = %s", user) == []


def test_what_is_decided_after_the_removal_of_a_user_is_another_users(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    published(delivery, user, None)
    wait_until(lambda: not delivery.rows("SELECT 1 FROM recipients WHERE user_id = %s", user), "the removal")
    state, _, mails = answer(delivery, user, template, purpose=TRANSACTIONAL, to="other@example.net")
    assert (state, mails) == (LedgerState.ACCEPTED, ["other@example.net"])
