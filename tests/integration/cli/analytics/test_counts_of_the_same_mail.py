"""Questions that add or divide counts, where several of them belong to the same mail."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cli.analytics.answers import analyst, ask
from cli.analytics.questions import named
from perf.programme import FIRST_DAY
from schemas.digests import digest
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind
from senders.recording import tables
from senders.recording.hypertables import DELIVERIES, ENGAGEMENT

pytestmark = pytest.mark.servers


def fact(mail: str, kind: OutcomeKind) -> Outcome:
    return Outcome.model_validate(
        {"id": digest([mail, kind]), "command_id": digest([mail]), "user_id": "u1", "trigger": "cart", "step": "one",
         "purpose": "marketing", "kind": kind, "time": FIRST_DAY, "decided_at": FIRST_DAY, "provider": f"{mail}.test"}
    )  # fmt: skip


@pytest.fixture
def recorded_url(database_url: str) -> str:
    """One mail was put off and then refused, one accepted and clicked; of a third nothing but its click is known."""
    deliveries = [("a", OutcomeKind.DEFERRED), ("a", OutcomeKind.REFUSED), ("b", OutcomeKind.ACCEPTED)]
    clicks = [("b", OutcomeKind.CLICKED), ("c", OutcomeKind.CLICKED)]
    with psycopg.connect(database_url) as connection:
        tables.write(
            connection,
            {DELIVERIES: [fact(*each) for each in deliveries], ENGAGEMENT: [fact(*each) for each in clicks]},
        )
    return database_url


def answer(url: str, name: str) -> list[dict[str, Any]]:
    question = named(name)
    since, until = FIRST_DAY.date().isoformat(), (FIRST_DAY + timedelta(days=1)).date().isoformat()
    with analyst(url) as connection:
        values = {"since": since, "until": until, "trigger": "%", **question.values({})}
        return list(ask(connection, question, values).records())


def test_more_clicks_than_accepted_mails_have_an_interval(recorded_url: str) -> None:
    [row] = answer(recorded_url, "click-rate")
    assert (row["accepted"], row["clicked"], row["clicked_pct"]) == (1, 1, 100)
    assert 0 < row["low_pct"] < row["high_pct"] <= 100.01


def test_trouble_is_no_more_than_all_mails(recorded_url: str) -> None:
    found = {row["provider"]: row for row in answer(recorded_url, "deliverability-by-day")}
    assert found["a.test"]["trouble_pct"] == 100
