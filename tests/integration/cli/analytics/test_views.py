"""The views of analysts over a seeded programme: what they say, what the rows say, and who may read them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from drivers.real_servers import RealServers

from cli.analytics.answers import NoRole, analyst, ask
from cli.analytics.questions import Question, questions
from infra.local.layout import PROJECT_ROOT
from perf.analytics_page import EXAMPLES, PAGE, PICTURES, page
from perf.programme import Programme
from schemas.vocabulary import ENGAGEMENT

pytestmark = pytest.mark.servers

PERIODS = ({"since": "2026-03-02", "until": "2026-05-25"}, {"since": "2026-04-14", "until": "2026-04-28"})


@pytest.fixture(scope="module")
def reader(seeded_url: str) -> Iterator[psycopg.Connection[Any]]:
    with analyst(seeded_url) as connection:
        yield connection


@pytest.fixture(scope="module")
def owner(seeded_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        seeded_url, autocommit=True, options="-c timezone=UTC", cursor_factory=psycopg.ClientCursor
    ) as connection:
        yield connection


EVERY = pytest.mark.parametrize("question", questions().values(), ids=lambda question: question.name)


def values_of(question: Question, period: dict[str, str]) -> dict[str, str]:
    return {"trigger": "%", **period, **question.values({})}


@EVERY
def test_a_question_has_the_same_answer_from_rollups_and_from_rows(
    reader: psycopg.Connection[Any], owner: psycopg.Connection[Any], question: Question
) -> None:
    raw = replace(question, sql=question.sql.replace("analytics.", "raw_analytics."))
    for period in PERIODS:
        kept = ask(reader, question, values_of(question, period))
        assert kept.rows
        assert ask(owner, raw, values_of(question, period)) == kept


def test_the_page_is_what_its_source_and_the_answers_say(seeded_url: str) -> None:
    assert page(seeded_url, PROJECT_ROOT) == (PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    shown = {name for name, example in EXAMPLES.items() if example.picture}
    assert shown <= {file.stem for file in (PROJECT_ROOT / PICTURES).glob("*.png")}


def test_the_examples_of_the_page_are_questions() -> None:
    assert EXAMPLES.keys() <= questions().keys()


def test_what_is_lost_on_the_way_adds_up(reader: psycopg.Connection[Any], programme: Programme) -> None:
    [sums] = reader.execute(
        """SELECT sum(events), sum(held_out + capped + quiet + expired + no_consent + withheld + sent), sum(sent)
           FROM analytics.funnel"""
    ).fetchall()
    events, parts, sent = map(int, sums)
    decided = [each for each in programme.decisions if each.outcome.value in ("send", "drop", "held_out")]
    assert events == parts == len(decided)
    assert sent == sum(each.outcome.value == "send" for each in decided)


def test_every_view_says_what_it_is(reader: psycopg.Connection[Any]) -> None:
    silent = reader.execute(
        """SELECT relname FROM pg_class WHERE relnamespace = 'analytics'::regnamespace
           AND obj_description(oid, 'pg_class') IS NULL"""
    ).fetchall()
    assert silent == []


def test_an_analyst_may_write_nowhere(owner: psycopg.Connection[Any]) -> None:
    found = owner.execute(
        """SELECT c.oid::regclass::text, right_name FROM pg_class c,
                  unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS right_name
           WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND c.relnamespace::regnamespace::text !~ '^(pg_|information)'
             AND has_table_privilege('ebbtide_analyst', c.oid, right_name)"""
    ).fetchall()
    assert found == []
    [[creates]] = owner.execute(
        "SELECT count(*) FROM pg_namespace WHERE has_schema_privilege('ebbtide_analyst', oid, 'CREATE')"
    ).fetchall()
    assert creates == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT reply FROM public.deliveries",
        "SELECT url FROM public.engagement",
        "SELECT inputs FROM public.decisions",
        "SELECT occurrence FROM public.decisions",
        "SELECT * FROM public.mails",
        "SELECT * FROM recipients",
        "SELECT * FROM suppressions",
        "SELECT * FROM profiles",
        "SELECT * FROM ledger",
        "SELECT * FROM write_keys",
    ],
)
def test_an_analyst_does_not_see_what_may_be_an_address(seeded_url: str, statement: str) -> None:
    with (
        analyst(seeded_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_an_analyst_reads_the_other_columns_of_rows(reader: psycopg.Connection[Any], programme: Programme) -> None:
    [[facts]] = reader.execute(
        "SELECT count(*) FROM public.engagement WHERE user_id <> '' AND kind <> '' AND time > '2026-01-01'"
    ).fetchall()
    assert facts == sum(each.kind in ENGAGEMENT for each in programme.outcomes)


def test_an_analyst_cannot_write_although_the_session_would_allow_it(seeded_url: str) -> None:
    with analyst(seeded_url) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM history_paths")


def test_a_database_without_the_role_says_what_to_do(servers: RealServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.analytics.answers.OPTIONS", "-c role=ebbtide_nobody")
    monkeypatch.setattr("cli.analytics.answers.ROLE", "ebbtide_nobody")
    with pytest.raises(NoRole, match="run `ebbtide migrate`"), analyst(servers.database_url("postgres")):
        pass


def test_pictures_of_the_page_are_small() -> None:
    assert sum(file.stat().st_size for file in (PROJECT_ROOT / PICTURES).glob("*.png")) < 400_000
