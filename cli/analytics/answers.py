"""Asks the database a named question as the role of analysts, and computes the answer where SQL is the wrong tool."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import ClientCursor, Connection

from cli.analytics.methods import METHODS, UnfitSetting
from cli.analytics.questions import Question
from cli.analytics.role import OPTIONS, ROLE
from cli.analytics.tables import AnswerTable
from infra.postgres.error_words import value_words
from infra.postgres.migrate import CONNECT_S
from schemas.errors import UserError


class NoRole(UserError):
    """The database has no role for analysts, or its user may not take it on."""


@contextmanager
def analyst(url: str) -> Iterator[Connection[Any]]:
    """A connection that may read what analysts may, and write nothing. The URL's user must be able to take the role."""
    try:
        connection = psycopg.connect(
            url, autocommit=True, options=OPTIONS, connect_timeout=CONNECT_S, cursor_factory=ClientCursor
        )
    except psycopg.OperationalError as error:
        if f'"{ROLE}"' not in str(error):
            raise
        raise NoRole(
            f"this user cannot read as the role {ROLE}: run `ebbtide migrate`, or have an administrator "
            f"GRANT {ROLE} to the user"
        ) from None
    with connection:
        yield connection


def ask(connection: Connection[Any], question: Question, values: Mapping[str, str]) -> AnswerTable:
    """The answer to a question with values for all of its variables: since, until, trigger and its settings.

    Raises UnfitSetting for a value that the database or the method cannot read.
    """
    found = _rows(connection, question, question.statement, values)
    return METHODS[question.method](found, values) if question.method else found


def first_day(connection: Connection[Any], question: Question, values: Mapping[str, str]) -> str:
    """The first day before `until` with rows in the view that the question begins with; '' without.

    Raises UnfitSetting as `ask` does.
    """
    if not question.begins:
        return ""
    query = f"SELECT min(day) FROM {question.begins} WHERE day < %(until)s AND trigger LIKE %(trigger)s"  # noqa: S608  # ours
    [[day]] = _rows(connection, question, query, values).rows
    return str(day or "")


def _rows(connection: Connection[Any], question: Question, query: str, values: Mapping[str, str]) -> AnswerTable:
    try:
        cursor = connection.execute(query, values)
    except psycopg.DataError as error:
        known = ", ".join(question.settings) or "none"
        raise UnfitSetting(f"question {question.name}: {value_words(error)}; its settings: {known}") from None
    columns = [column.name for column in cursor.description or ()]
    return AnswerTable(columns, [tuple(map(_plain, row)) for row in cursor])


def _plain(value: Any) -> Any:
    """The value as JSON has it: sums of whole numbers are whole, other numerics are floats."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value.as_tuple().exponent == 0 else float(value)
