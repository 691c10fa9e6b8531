"""How long a template may be missing before the command that names it fails."""

from datetime import UTC, datetime, timedelta

from senders.content.templates import Shelf

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_nothing_has_been_missed_while_the_topic_is_still_being_read():
    assert Shelf().waited(NOW - MINUTE, NOW) == timedelta(0)


def test_after_a_restart_an_old_command_waits_from_when_the_topic_was_known():
    """A worker killed in the middle left commands admitted a minute ago; its successor failed all of them."""
    shelf = Shelf()
    shelf.complete(NOW)
    assert shelf.waited(NOW - MINUTE, NOW) == timedelta(0)
    assert shelf.waited(NOW - MINUTE, NOW + timedelta(seconds=5)) == timedelta(seconds=5)


def test_a_later_command_waits_from_its_own_admission():
    shelf = Shelf()
    shelf.complete(NOW - MINUTE)
    shelf.complete(NOW)
    assert shelf.waited(NOW, NOW + timedelta(seconds=3)) == timedelta(seconds=3)
