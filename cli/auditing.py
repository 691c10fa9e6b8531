"""Writes what commands change into the audit (`infra.postgres.audit`), or says that it does not have it yet."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from cli.environment import Environment
from infra.postgres.error_words import outage_words
from schemas.errors import UserError

if TYPE_CHECKING:
    from psycopg import Connection

    from infra.postgres.audit import AuditedChange, AuditWords


class AuditAway(UserError):
    """The audit cannot be written; the message says why and what to do."""


class NumberedChange(NamedTuple):
    """A change that a topic keeps under a number."""

    number: int
    who: str
    what: str
    subject: str
    before: Any
    after: dict[str, Any]


def audit_words(environment: Environment) -> "AuditWords":
    """What makes changes of this instance fit for the audit."""
    from infra.postgres.audit import AuditWords

    return AuditWords(environment.suppression_key)


@contextmanager
def audited(
    environment: Environment, who: str, what: str, subject: str | list[str], before: Any = None, after: Any = None
) -> Iterator[None]:
    """Adds a change to the audit, and runs the block that makes it. If the block fails, another row says so.

    Of several subjects each has rows of its own. Raises AuditAway; then nothing is changed.
    """
    words, subjects = audit_words(environment), [subject] if isinstance(subject, str) else subject
    _add(environment, [words.change(who, what, each, before, after) for each in subjects])
    try:
        yield
    except BaseException as error:
        said = {"error": type(error).__name__}
        with suppress(AuditAway):
            _add(environment, [words.change(who, f"{what} failed", each, None, said) for each in subjects])
        raise


def _add(environment: Environment, changes: "Iterable[AuditedChange]") -> None:
    from infra.postgres import audit

    with _transaction(environment) as connection:
        for change in changes:
            audit.add(connection, change)


def audit_numbered(
    environment: Environment, topic: str, made: int, changes: Callable[[], Iterable[NumberedChange]]
) -> None:
    """Adds the change `made`, which the topic has already, and those before it that the audit does not have yet.

    Such a change is never refused because the database or Kafka is away now: it may be what stops a mistake. The topic
    says who made it and when, and the next one adds it.
    """
    from confluent_kafka import KafkaException

    try:
        found = list(changes())
        with _transaction(environment) as connection:
            _add_missing(connection, audit_words(environment), topic, made, found)
    except AuditAway as away:
        _say_missing(str(away))
    except KafkaException as error:
        _say_missing(f"Kafka does not answer ({error.args[0].str()})")


def _say_missing(why: str) -> None:
    typer.echo(f"the audit does not have this yet: {why}. The next change of this kind adds it.", err=True)


def _add_missing(
    connection: "Connection[Any]", words: "AuditWords", topic: str, made: int, found: Iterable[NumberedChange]
) -> None:
    from infra.postgres import audit

    known = audit.last_number(connection, topic)
    for change in found:
        if change.number > known if known else change.number == made:
            after = {topic: change.number, **change.after}
            audit.add(
                connection, words.change(change.who or "unknown", change.what, change.subject, change.before, after)
            )


@contextmanager
def _transaction(environment: Environment) -> "Iterator[Connection[Any]]":
    """A transaction on the database of the audit. Raises AuditAway."""
    import psycopg

    from infra.postgres.migrate import CONNECT_S, MigrationError, require_migrated

    url, options = environment.ledger_url, "-c timezone=UTC -c lock_timeout=20s"
    try:
        with require_migrated(), psycopg.connect(url, connect_timeout=CONNECT_S, options=options) as connection:
            yield connection
    except MigrationError as error:
        raise AuditAway(str(error)) from None
    except psycopg.OperationalError as error:
        raise AuditAway(
            f"its database does not answer ({outage_words(error)}); `make status` shows what runs, `make up` starts it"
        ) from None
