"""Consent in delivery: unreadable profiles, tombstones, unsubscribes, complaints, and consent given again."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, Tail, a_command, lasting_harbour, wait_until
from psycopg.sql import SQL

from infra.kafka.connection import Connection
from schemas.codec import decode, partition_for
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.outcomes import Outcome
from schemas.topics import COMMANDS, DEAD_LETTERS, OUTCOMES, PROFILES
from schemas.vocabulary import TRANSACTIONAL, LedgerState
from senders.app import user_partitions

pytestmark = pytest.mark.servers
YES = {"granted": True, "time": datetime.now(UTC).isoformat()}
NO = YES | {"granted": False}


@pytest.fixture(scope="module")
def delivery(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """One delivery that runs for all tests of this file; each test uses users and commands of its own."""
    yield from lasting_harbour(servers, tmp_path_factory.mktemp("delivery"))


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


def wait_for_consent(delivery: Harbour, user: str, *, granted: bool) -> None:
    """Waits until the view has this consent to marketing: a command may be taken before."""
    query = "SELECT coalesce(consent->'marketing'->'granted' = 'true', false) FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(query, user) == [(granted,)], f"consent {granted} in the view")


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
def test_marketing_stops_at_an_unreadable_profile_until_a_newer_one_can_be_read(
    delivery: Harbour, template: str, spoilt: bytes | dict[str, Any]
) -> None:
    user = delivery.publish_user()
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
    published(delivery, user, whole(user) | spoilt if isinstance(spoilt, dict) else spoilt)
    wait_for_consent(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")
    published(delivery, user, whole(user))
    wait_for_consent(delivery, user, granted=True)
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
    ("fields", "goes_to"),
    [
        ({"address": "new@example.net"}, "new@example.net"),
        ({"address": "a b@example.net"}, "ann+{user}@example.net"),
        ({"address": None}, None),
        ({"address": ""}, None),
    ],
)
def test_transactional_mail_goes_where_an_unreadable_profile_says_or_to_the_last_known_address(
    delivery: Harbour, template: str, fields: dict[str, Any], goes_to: str | None
) -> None:
    user = delivery.publish_user()
    published(delivery, user, whole(user, locale="x" * 36) | fields)
    wait_for_consent(delivery, user, granted=False)
    state, reason, mails = answer(delivery, user, template, purpose=TRANSACTIONAL)
    if goes_to is None:
        assert (state, reason) == (LedgerState.SUPPRESSED, "no_recipient")
    else:
        assert (state, mails) == (LedgerState.ACCEPTED, [goes_to.format(user=user)])


def test_a_refusal_in_a_wrong_partition_counts(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    partitions = user_partitions(Connection(delivery.kafka))
    wrong = (partition_for(user.encode(), partitions) + 1) % partitions
    published(delivery, user, whole(user, consent={"marketing": NO}), partition=wrong)
    wait_for_consent(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")


def test_a_profile_that_the_database_refuses_stops_marketing(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
    with psycopg.connect(delivery.database_url, autocommit=True) as connection:
        check = SQL("ALTER TABLE recipients ADD CHECK (zone IS NULL OR user_id <> {})")
        connection.execute(check.format(user))
    published(delivery, user, whole(user, zone="Europe/Berlin"))
    wait_for_consent(delivery, user, granted=False)
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "no_consent")


@pytest.mark.parametrize("wrong", [{"time": "yesterday"}, {"url": "x" * 3000}, {"id": None}, {"machine": "\0"}])
@pytest.mark.parametrize(("kind", "scope"), [("unsubscribed", "marketing"), ("complained", "*")])
def test_an_outcome_that_cannot_be_read_whole_still_suppresses(
    delivery: Harbour, template: str, kind: str, scope: str, wrong: dict[str, Any]
) -> None:
    user = delivery.publish_user()
    command = a_command(user, template)
    delivery.publish(COMMANDS.name, user, command)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    now = datetime.now(UTC).isoformat()
    outcome = {"id": command.id, "command_id": command.id, "user_id": user, "kind": kind, "time": now}
    delivery.publish(OUTCOMES.name, user, orjson.dumps(outcome | wrong))
    query = "SELECT scope FROM suppressions WHERE command_id = %s"
    assert wait_until(lambda: delivery.rows(query, command.id), "a suppression") == [(scope,)]
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "suppressed")


def test_waiting_commands_of_a_removed_user_end_even_with_their_own_address(delivery: Harbour) -> None:
    user = delivery.publish_user()
    waiting = a_command(user, "0" * 32, purpose=TRANSACTIONAL, to="other@example.net")  # of a template that never comes
    delivery.publish(COMMANDS.name, user, waiting)
    delivery.wait_for(waiting, LedgerState.ADMITTED)
    published(delivery, user, None)
    delivery.wait_for(waiting, LedgerState.SUPPRESSED)
    query = "SELECT reason, next_attempt_at FROM ledger WHERE command_id = %s"
    wait_until(lambda: delivery.rows(query, waiting.id) == [("no_recipient", None)], "the outcome")
    assert delivery.rows("SELECT 1 FROM recipients WHERE user_id = %s", user) == []


def test_a_command_decided_after_the_removal_of_its_user_is_sent(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    published(delivery, user, None)
    wait_until(lambda: not delivery.rows("SELECT 1 FROM recipients WHERE user_id = %s", user), "the removal")
    state, _, mails = answer(delivery, user, template, purpose=TRANSACTIONAL, to="other@example.net")
    assert (state, mails) == (LedgerState.ACCEPTED, ["other@example.net"])


def outcome(delivery: Harbour, command: SendCommand, kind: str, at: datetime) -> None:
    fact = Outcome(id=f"{command.id}-{kind}-{at}", command_id=command.id, user_id=command.user_id, kind=kind, time=at)
    delivery.publish(OUTCOMES.name, command.user_id, fact)


def accepted_command(delivery: Harbour, user: str, template: str) -> SendCommand:
    command = a_command(user, template)
    delivery.publish(COMMANDS.name, user, command)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    return command


def consent_at(delivery: Harbour, user: str, at: datetime) -> None:
    """Publishes the profile with a consent of this time, and waits until the view has it."""
    address = f"ann+{user}@example.net"
    published(delivery, user, whole(user, address=address, consent={"marketing": YES | {"time": at.isoformat()}}))
    query = "SELECT (consent->'marketing'->>'time')::timestamptz FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(query, user) == [(at,)], "the consent in the view")


def suppressed(delivery: Harbour, command: SendCommand) -> list[tuple[Any, ...]]:
    return delivery.rows("SELECT scope, reason FROM suppressions WHERE command_id = %s", command.id)


def test_consent_given_after_an_unsubscribe_lifts_it_and_the_audit_says_so(delivery: Harbour, template: str) -> None:
    user, now = delivery.publish_user(), datetime.now(UTC)
    command = accepted_command(delivery, user, template)
    outcome(delivery, command, "unsubscribed", now)
    wait_until(lambda: suppressed(delivery, command), "the suppression")
    consent_at(delivery, user, now - timedelta(seconds=1))
    assert suppressed(delivery, command) == [("marketing", "unsubscribed")], "an older consent lifts nothing"
    again = datetime.now(UTC)
    consent_at(delivery, user, again)
    assert suppressed(delivery, command) == []
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
    audit = "SELECT at, action, \"by\", scope FROM suppression_audit WHERE suppression->>'command_id' = %s"
    assert delivery.rows(audit, command.id) == [(again, "lift", "consent", "marketing")]
    outcome(delivery, command, "unsubscribed", again + timedelta(milliseconds=1))
    wait_until(lambda: suppressed(delivery, command), "a later unsubscribe suppresses again")


def test_an_unsubscribe_by_a_mail_that_the_ledger_has_forgotten_is_from_the_purpose_that_it_names(
    delivery: Harbour, template: str
) -> None:
    user, now = delivery.publish_user(), datetime.now(UTC)
    forgotten = a_command(user, template)
    fields = {"command_id": forgotten.id, "user_id": user, "purpose": "marketing", "kind": "unsubscribed", "time": now}
    delivery.publish(OUTCOMES.name, user, Outcome(id=uuid.uuid4().hex, **fields))
    wait_until(lambda: suppressed(delivery, forgotten), "the suppression")
    assert suppressed(delivery, forgotten) == [("marketing", "unsubscribed")]
    assert answer(delivery, user, template, purpose=TRANSACTIONAL)[0] == LedgerState.ACCEPTED
    consent_at(delivery, user, datetime.now(UTC))
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED


def test_a_user_who_paused_mail_gets_only_what_needs_no_consent_until_then(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    until = datetime.now(UTC) + timedelta(days=30)
    query = "SELECT paused_until FROM recipients WHERE user_id = %s"
    published(delivery, user, whole(user, paused_until=until.isoformat()))
    wait_until(lambda: delivery.rows(query, user) == [(until,)], "the pause in the view")
    assert answer(delivery, user, template)[:2] == (LedgerState.SUPPRESSED, "user_paused")
    published(delivery, user, whole(user, locale="de"))
    seen = "SELECT locale, paused_until FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(seen, user)[0][0] == "de", "a profile of a backend in the view")
    assert delivery.rows(seen, user) == [("de", until)]
    assert answer(delivery, user, template, purpose=TRANSACTIONAL)[0] == LedgerState.ACCEPTED
    ended = datetime.now(UTC)
    published(delivery, user, whole(user, paused_until=ended.isoformat()))
    wait_until(lambda: delivery.rows(query, user) == [(ended,)], "the earlier end of the pause")
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED


def test_consent_does_not_lift_a_complaint_a_hard_bounce_or_another_purpose(delivery: Harbour, template: str) -> None:
    user, now = delivery.publish_user(), datetime.now(UTC)
    complaint, digest = accepted_command(delivery, user, template), a_command(user, template, purpose="digest")
    delivery.publish(COMMANDS.name, user, digest)
    wait_until(lambda: delivery.state(digest.id), "the other command")
    outcome(delivery, digest, "unsubscribed", now)
    outcome(delivery, complaint, "complained", now)
    wait_until(lambda: suppressed(delivery, complaint), "the complaint")
    consent_at(delivery, user, datetime.now(UTC))
    assert suppressed(delivery, complaint) == [("*", "complained")]
    assert suppressed(delivery, digest) == [("digest", "unsubscribed")]


def test_consent_of_another_user_at_the_same_address_lifts_nothing(delivery: Harbour, template: str) -> None:
    user, other = delivery.publish_user(), delivery.publish_user()
    command = accepted_command(delivery, user, template)
    outcome(delivery, command, "unsubscribed", datetime.now(UTC))
    wait_until(lambda: suppressed(delivery, command), "the suppression")
    consent = {"marketing": YES | {"time": datetime.now(UTC).isoformat()}}
    published(delivery, other, whole(other, address=f"ann+{user}@example.net", consent=consent))
    query = "SELECT address FROM recipients WHERE user_id = %s"
    wait_until(lambda: delivery.rows(query, other) == [(f"ann+{user}@example.net",)], "the address in the view")
    assert suppressed(delivery, command) == [("marketing", "unsubscribed")]


def test_an_unsubscribe_that_is_read_after_a_later_consent_suppresses_nothing(delivery: Harbour, template: str) -> None:
    user, now = delivery.publish_user(), datetime.now(UTC)
    command = accepted_command(delivery, user, template)
    consent_at(delivery, user, datetime.now(UTC))
    outcome(delivery, command, "unsubscribed", now)
    outcome(delivery, command, "complained", now)
    wait_until(lambda: suppressed(delivery, command), "the complaint, which comes after the unsubscribe")
    assert suppressed(delivery, command) == [("*", "complained")]


def test_consent_from_the_future_counts_from_the_moment_it_is_read(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    command = accepted_command(delivery, user, template)
    consent_at(delivery, user, datetime.now(UTC) + timedelta(days=365))
    outcome(delivery, command, "unsubscribed", datetime.now(UTC))
    wait_until(lambda: suppressed(delivery, command) == [("marketing", "unsubscribed")], "the suppression")


def test_a_reinstated_address_is_lifted_by_its_outcome_too(delivery: Harbour, template: str) -> None:
    """As when the view is read again from the topics: then only the outcome tells that a person lifted it."""
    user = delivery.publish_user()
    now = datetime.now(UTC) - timedelta(seconds=5)  # a lift of the future would count from when it is read
    command = accepted_command(delivery, user, template)
    outcome(delivery, command, "complained", now)
    wait_until(lambda: suppressed(delivery, command), "the complaint")
    outcome(delivery, command, "reinstated", now - timedelta(seconds=1))
    outcome(delivery, command, "reinstated", now + timedelta(seconds=1))
    wait_until(lambda: suppressed(delivery, command) == [], "the lift")
    audit = "SELECT at, action, \"by\", scope FROM suppression_audit WHERE suppression->>'command_id' = %s"
    assert delivery.rows(audit, command.id) == [(now + timedelta(seconds=1), "lift", "reinstated", "*")]
    outcome(delivery, command, "complained", now + timedelta(microseconds=1))
    assert answer(delivery, user, template)[0] == LedgerState.ACCEPTED
