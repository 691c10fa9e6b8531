"""What errors of PostgreSQL mean in our words. The texts are those of libpq and of the server."""

import pytest

from infra.postgres.error_words import absent_name, outage_words, value_words

TRIED = 'connection failed: connection to server at "{}", port {} failed: '
HINT = "\n\tIs the server running on that host and accepting TCP/IP connections?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TRIED.format("127.0.0.1", 1) + "Connection refused" + HINT, "127.0.0.1:1: nothing listens there"),
        (
            'connection failed: connection to server at "a" (10.0.0.1), port 5 failed: Connection refused'
            + HINT
            + '\nconnection to server at "b" (10.0.0.2), port 6 failed: timeout expired',
            "a:5: nothing listens there, b:6: no answer in time",
        ),
        (TRIED.format("::1", 2) + 'FATAL:  database "shop" does not exist', "::1:2: it has no database shop"),
        (
            TRIED.format("h", 2) + 'FATAL:  password authentication failed for user "eve"',
            "h:2: it refuses the user or the password",
        ),
        (
            'connection failed: connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory',
            "/run/.s.PGSQL.5432: No such file or directory",
        ),
        ("connection timeout expired", "no answer in time"),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", "its host is not known"),
        ("server closed the connection unexpectedly\n\tThis probably means", "it ended the connection"),
        ("FATAL:  something new\nmore", "something new"),
        ("", "OSError"),
    ],
)
def test_an_outage_is_told_for_each_host_that_was_tried(text: str, said: str) -> None:
    assert outage_words(OSError(text)) == said


def test_what_an_older_database_does_not_have_is_named() -> None:
    for text in ('relation "audit_log" does not exist\nLINE 1: …', 'column "audit_log" of relation "x" does not exist'):
        assert absent_name(ValueError(text)) == "audit_log"
    assert absent_name(ValueError("function audit_add(unknown) does not exist")) == "audit_add"


def test_a_value_that_the_database_cannot_read_is_named_with_what_it_should_be() -> None:
    assert value_words(ValueError('invalid input syntax for type numeric: "much"\nLINE 1: …')) == "'much' is no number"
    assert value_words(ValueError('invalid input syntax for type date: "x"')) == "'x' is no date"
    assert value_words(ValueError('time zone "Mars" not recognized')) == "'Mars' is no time zone"
