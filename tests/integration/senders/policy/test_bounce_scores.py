"""Suppressions that end, soft bounces that add up, and lists that come from files, on a real database."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind
from senders.policy import bounce_scores, suppression_files, suppressions
from senders.policy.outcome_suppressions import apply_outcome, concerns_suppressions
from senders.policy.recipients import AddressHasher
from senders.policy.suppression_files import read_list

pytestmark = pytest.mark.servers
NOW = datetime.now(UTC).replace(hour=12)
HASHER = AddressHasher(b"k" * 16)
ADDRESS = "ann@shop.example"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as open_connection:
        open_connection.execute(
            "INSERT INTO recipients (user_id, address, known_at) VALUES ('u1', %s, now())", [ADDRESS]
        )
        yield open_connection


def bounce(at: datetime, classification: str = "quota_issues", kind: OutcomeKind = OutcomeKind.BOUNCED) -> Outcome:
    named = {"id": f"b-{at}", "command_id": "c1", "user_id": "u1", "kind": kind, "time": at}
    return Outcome.model_validate({**named, "classification": classification, "hard": False})


def found(connection: Connection[Any]) -> list[tuple[str, str | None, datetime | None]]:
    return [(each.reason, each.source, each.expires_at) for each in suppressions.find(connection)]


def days(connection: Connection[Any], count: int, **more: Any) -> None:
    for back in range(count, 0, -1):
        apply_outcome(connection, HASHER, bounce(NOW - timedelta(days=back), **more))


def test_soft_bounces_on_five_days_suppress_for_thirty_days(connection: Connection[Any]) -> None:
    days(connection, 4)
    assert found(connection) == []
    apply_outcome(connection, HASHER, bounce(NOW))
    assert found(connection) == [("soft_bounces", "score", NOW + bounce_scores.SUPPRESSED_FOR)]


def test_a_day_counts_once_however_many_mails_bounce_on_it(connection: Connection[Any]) -> None:
    for minute in range(20):
        apply_outcome(connection, HASHER, bounce(NOW + timedelta(minutes=minute)))
    days(connection, 3)
    assert found(connection) == []
    assert connection.execute("SELECT count(*) FROM soft_bounces").fetchone() == (4,)


def test_old_days_do_not_count(connection: Connection[Any]) -> None:
    for back in (200, 150, 100, 50, 0):
        apply_outcome(connection, HASHER, bounce(NOW - timedelta(days=back)))
    assert found(connection) == []
    assert connection.execute("SELECT count(*) FROM soft_bounces").fetchone() == (1,)


@pytest.mark.parametrize("classification", ["spam_block", "policy_related", "rate_limited", "spam_content"])
def test_a_block_or_a_filter_is_not_about_the_address(classification: str) -> None:
    assert not concerns_suppressions(bounce(NOW, classification))
    assert concerns_suppressions(bounce(NOW, "inactive_mailbox", OutcomeKind.REFUSED))
    assert not concerns_suppressions(bounce(NOW, "quota_issues", OutcomeKind.DEFERRED))


def test_outcomes_that_are_read_again_do_not_bring_back_what_was_lifted(connection: Connection[Any]) -> None:
    days(connection, 5)
    assert len(found(connection)) == 1
    suppressions.lift(connection, HASHER(ADDRESS), None, "ada", "ticket", NOW)
    days(connection, 5)
    assert found(connection) == []


def test_a_suppression_that_has_ended_is_none_and_makes_room(connection: Connection[Any]) -> None:
    key = HASHER(ADDRESS)
    assert suppressions.add(connection, key, "*", "ada", "ticket", NOW, datetime.now(UTC) - timedelta(seconds=1))
    assert found(connection) == []
    hard = bounce(NOW).model_copy(update={"hard": True, "classification": "invalid_recipient"})
    apply_outcome(connection, HASHER, hard)
    assert found(connection) == [("bounced", "bounce", None)]


def test_a_hard_bounce_takes_the_place_of_a_suppression_that_ends(connection: Connection[Any]) -> None:
    days(connection, 5)
    apply_outcome(connection, HASHER, bounce(NOW).model_copy(update={"hard": True}))
    days(connection, 5)
    assert found(connection) == [("bounced", "bounce", None)]


def test_a_list_is_imported_once_with_its_audit_and_exported_as_it_came(connection: Connection[Any]) -> None:
    text = f"address,scope,reason,since\n{ADDRESS},*,complained,2026-01-02\nbob@shop.example,news,,\n{ADDRESS},*,,\n"
    listed = read_list(text.splitlines(), HASHER, str, NOW)
    assert suppression_files.add_all(connection, listed, "ada", "moved", NOW) == 2
    assert suppression_files.add_all(connection, listed, "ada", "moved", NOW) == 0
    audit = connection.execute("SELECT action, by, why, scope FROM suppression_audit ORDER BY scope").fetchall()
    assert audit == [("add", "ada", "moved", "*"), ("add", "ada", "moved", "news")]
    with connection.transaction():
        out = io.StringIO()
        csv.writer(out).writerows(suppression_files.exported(connection))
    again = read_list(out.getvalue().splitlines(), HASHER, str, NOW)
    assert {(each.address_hash, each.scope, each.reason) for each in again} == {
        (HASHER(ADDRESS), "*", "complained"),
        (HASHER("bob@shop.example"), "news", "import"),
    }
