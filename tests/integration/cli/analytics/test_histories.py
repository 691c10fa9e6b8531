"""Paths to conversions and subjects of experiments, from rows that say exactly what is to come out."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.command_line import ebbtide

from cli.analytics.histories import compute_paths, compute_subjects
from perf.analytics_database import known_until
from perf.programme import FIRST_DAY, Programme
from schemas.decisions import Decision
from schemas.digests import digest
from schemas.outcomes import Outcome
from schemas.people import NOBODY
from schemas.vocabulary import ENGAGEMENT as OF_READERS
from schemas.vocabulary import DecisionOutcome, OutcomeKind
from senders.recording import tables
from senders.recording.hypertables import DECISIONS, DELIVERIES, ENGAGEMENT

pytestmark = pytest.mark.servers

DAY = timedelta(days=1)
KNOWN = FIRST_DAY + 200 * DAY


def click(user: str, trigger: str, days: float, machine: bool | str = False, mail: str = "") -> Outcome:
    at = FIRST_DAY + days * DAY
    command = digest([user, trigger, mail or days])
    return Outcome.model_validate(
        {"id": digest([command, days]), "command_id": command, "user_id": user, "trigger": trigger, "step": "one",
         "purpose": "marketing", "kind": OutcomeKind.CLICKED, "time": at, "machine": machine, "decided_at": at}
    )  # fmt: skip


def goal(user: str, trigger: str, days: float, held_out: bool = False) -> Decision:
    at = FIRST_DAY + days * DAY
    return Decision(
        id=digest([user, trigger, days]), trigger=trigger, rule_hash="", user_id=user, occurrence="[]", step="one",
        outcome=DecisionOutcome.GOAL, event_ids=[f"{user} buys {days}"], decided_at=at,
        inputs={"sent_at": (at - DAY).isoformat(), "held_out": held_out},
    )  # fmt: skip


def met(
    user: str, trigger: str, days: float, variant: str = "", outcome: DecisionOutcome = DecisionOutcome.SEND
) -> Decision:
    """A send, of the mail that `click` takes, or a mail that was held back."""
    return Decision(
        id=digest([user, trigger, days, outcome]), trigger=trigger, rule_hash="", user_id=user, occurrence="[]",
        step="one", outcome=outcome, decided_at=FIRST_DAY + days * DAY, inputs={"variant": variant} if variant else {},
        command_id=digest([user, trigger, days]) if outcome is DecisionOutcome.SEND else None,
    )  # fmt: skip


def record(connection: psycopg.Connection[Any], *facts: Outcome | Decision) -> None:
    outcomes = [fact for fact in facts if isinstance(fact, Outcome)]
    by_table = {
        DECISIONS: [fact for fact in facts if isinstance(fact, Decision)],
        DELIVERIES: [fact for fact in outcomes if fact.kind not in OF_READERS],
        ENGAGEMENT: [fact for fact in outcomes if fact.kind in OF_READERS],
    }
    with connection.transaction():
        tables.write(connection, by_table)


def subjects_of(connection: psycopg.Connection[Any], *facts: Outcome | Decision) -> list[tuple[Any, ...]]:
    record(connection, *facts)
    return subjects(connection)


def subjects(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Days since the first, variant, whether held out, users, clicked and converted."""
    compute_subjects(connection)
    return connection.execute(
        "SELECT day - %s::date, variant, held_out, users, clicked, converted FROM history_subjects ORDER BY 1, 2",
        [FIRST_DAY.date()],
    ).fetchall()


def paths_of(
    connection: psycopg.Connection[Any], *facts: Outcome | Decision, known: datetime = KNOWN
) -> dict[str, Any]:
    record(connection, *facts)
    compute_paths(connection, FIRST_DAY - DAY, KNOWN, known)
    rows = connection.execute("SELECT touches, won, lost, decayed FROM history_paths ORDER BY touches").fetchall()
    return {
        " > ".join(touches): (won, lost, [round(share, 4) for share in decayed]) for touches, won, lost, decayed in rows
    }


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def test_a_path_has_the_clicks_before_a_conversion_and_newer_ones_weigh_more(
    connection: psycopg.Connection[Any],
) -> None:
    found = paths_of(connection, click("u1", "hello", 0), click("u1", "cart", 7), goal("u1", "cart", 14))
    assert found == {"hello > cart": (1, 0, [0.3333, 0.6667])}


def test_a_conversion_that_several_triggers_count_is_one(connection: psycopg.Connection[Any]) -> None:
    found = paths_of(connection, click("u1", "cart", 0), goal("u1", "cart", 1), goal("u1", "hello", 1))
    assert found == {"cart": (1, 0, [1.0])}


def test_a_path_begins_anew_after_a_conversion(connection: psycopg.Connection[Any]) -> None:
    facts = [click("u1", "cart", 0), goal("u1", "cart", 1), click("u1", "drop", 2), goal("u1", "drop", 3)]
    assert paths_of(connection, *facts) == {"cart": (1, 0, [1.0]), "drop": (1, 0, [1.0])}


def test_a_click_of_long_ago_was_lost_and_is_no_touch(connection: psycopg.Connection[Any]) -> None:
    facts = [click("u1", "cart", 0), click("u1", "drop", 31), goal("u1", "drop", 32)]
    assert paths_of(connection, *facts) == {"cart": (0, 1, [0.0]), "drop": (1, 0, [1.0])}


def test_nobody_knows_yet_whether_a_fresh_click_is_lost(connection: psycopg.Connection[Any]) -> None:
    assert paths_of(connection, click("u1", "cart", 0), known=FIRST_DAY + 29 * DAY) == {}


def test_machines_and_people_without_a_click_have_no_path(connection: psycopg.Connection[Any]) -> None:
    facts = [click("u1", "cart", 0, machine=True), goal("u1", "cart", 1), goal("u2", "cart", 1, held_out=True)]
    assert paths_of(connection, *facts) == {}


def test_several_clicks_on_a_mail_in_a_day_are_one_touch(connection: psycopg.Connection[Any]) -> None:
    clicks = [click("u1", "cart", days, "unknown", mail="the same") for days in (0.1, 0.2, 0.3)]
    assert paths_of(connection, *clicks, goal("u1", "cart", 1)) == {"cart": (1, 0, [1.0])}


def test_of_many_clicks_the_last_eight_count(connection: psycopg.Connection[Any]) -> None:
    clicks = [click("u1", f"t{number:02}", number) for number in range(12)]
    [(path, (won, _, decayed))] = paths_of(connection, *clicks, goal("u1", "t00", 12)).items()
    assert path == " > ".join(f"t{number:02}" for number in range(4, 12))
    assert (won, sum(decayed)) == (1, pytest.approx(1, abs=1e-3))


def test_days_computed_one_by_one_and_again_are_those_computed_at_once(seeded_url: str, programme: Programme) -> None:
    """In a transaction that is rolled back: others read this database."""
    with psycopg.connect(seeded_url, options="-c timezone=UTC") as connection:
        query = "SELECT * FROM history_paths ORDER BY day, touches"
        at_once = connection.execute(query).fetchall()
        known = known_until(programme)
        for first in (0, 40, 20, 60, 80, 100):
            compute_paths(connection, FIRST_DAY + first * DAY, FIRST_DAY + (first + 25) * DAY, known)
        pieces = connection.execute(query).fetchall()
        connection.rollback()
    assert [row[:4] for row in pieces] == [row[:4] for row in at_once]
    assert [row[4] for row in pieces] == [pytest.approx(row[4]) for row in at_once]


def test_conversions_that_no_event_tells_apart_any_more_are_told_apart_by_time(
    connection: psycopg.Connection[Any],
) -> None:
    """`ebbtide privacy retain` empties event_ids."""
    facts = [click("u1", "cart", 0), goal("u1", "cart", 1), click("u1", "drop", 2), goal("u1", "drop", 3)]
    retained = [fact.model_copy(update={"event_ids": []}) if isinstance(fact, Decision) else fact for fact in facts]
    assert paths_of(connection, *retained) == {"cart": (1, 0, [1.0]), "drop": (1, 0, [1.0])}


@pytest.mark.parametrize("nobody", [NOBODY, f"{NOBODY}-3"])
def test_people_who_were_erased_are_not_one_person(connection: psycopg.Connection[Any], nobody: str) -> None:
    held = met(nobody, "cart", 2, outcome=DecisionOutcome.HELD_OUT)
    facts = [met(nobody, "cart", 0, "photo"), click(nobody, "cart", 0), goal(nobody, "cart", 1), held]
    assert paths_of(connection, *facts) == {}
    assert subjects(connection) == []


def test_a_user_is_one_subject_of_the_first_arm(connection: psycopg.Connection[Any]) -> None:
    held = [
        met(user, "cart", days, "photo", DecisionOutcome.HELD_OUT) for user, days in (("u1", 0), ("u1", 1), ("u2", 5))
    ]
    mailed = [
        fact
        for user, days in (("u2", 2), ("u2", 3), ("u3", 3))
        for fact in (met(user, "cart", days), click(user, "cart", days))
    ]
    found = subjects_of(connection, *held, *mailed, goal("u1", "cart", 2), goal("u3", "cart", 4))
    of_trigger = [row for row in found if row[1] == ""]
    assert of_trigger == [(0, "", True, 1, 0, 1), (2, "", False, 1, 1, 0), (3, "", False, 1, 1, 1)]
    assert [row for row in found if row[1]] == [(0, "photo", True, 1, 0, 1), (5, "photo", True, 1, 0, 0)]


def test_who_was_mailed_before_an_experiment_is_its_subject_from_the_first_variant(
    connection: psycopg.Connection[Any],
) -> None:
    facts = [met("u1", "cart", 0), click("u1", "cart", 0), goal("u1", "cart", 1), met("u1", "cart", 5, "photo")]
    assert subjects_of(connection, *facts) == [(0, "", False, 1, 1, 1), (5, "photo", False, 1, 0, 0)]


def test_mails_of_before_the_upgrade_are_subjects_whether_they_converted_or_not(
    connection: psycopg.Connection[Any],
) -> None:
    """Their deliveries do not say when they were decided, and their decisions have the variant in the inputs alone."""
    sends = [met(user, "cart", 0, "photo") for user in ("u1", "u2")]
    accepted = [
        click(user, "cart", 0).model_copy(update={"kind": OutcomeKind.ACCEPTED, "decided_at": None, "machine": None})
        for user in ("u1", "u2")
    ]
    converted = goal("u1", "cart", 1).model_copy(update={"command_id": sends[0].command_id})
    record(connection, *sends, *accepted, converted)
    connection.execute("UPDATE decisions SET variant = NULL")
    assert subjects(connection) == [(0, "", False, 2, 0, 1), (0, "photo", False, 2, 0, 1)]


def test_the_command_computes_both(database_url: str, connection: psycopg.Connection[Any]) -> None:
    record(connection, met("u1", "cart", 0), click("u1", "cart", 0), goal("u1", "cart", 1))
    arguments = ("analytics", "histories", "--from", FIRST_DAY.date(), "--json")
    done = ebbtide(*arguments, EBBTIDE_DATABASE_URL=database_url)
    assert json.loads(done.stdout) == {"since": "2026-03-02", "paths": 1, "subjects": 1}
