"""How long a template may be missing before the command that names it fails."""

from datetime import UTC, datetime, timedelta

from senders.content.templates import TemplateCache

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_no_template_counts_as_missing_while_the_topic_is_being_read():
    assert TemplateCache().waited(NOW - MINUTE, NOW) == timedelta(0)


def test_after_a_restart_an_old_command_waits_from_when_the_topic_was_read():
    """A worker killed in the middle left commands admitted a minute ago; its successor failed all of them."""
    cache = TemplateCache()
    cache.complete(NOW)
    assert cache.waited(NOW - MINUTE, NOW) == timedelta(0)
    assert cache.waited(NOW - MINUTE, NOW + timedelta(seconds=5)) == timedelta(seconds=5)


def test_a_later_command_waits_from_its_own_admission():
    cache = TemplateCache()
    cache.complete(NOW - MINUTE)
    cache.complete(NOW)
    assert cache.waited(NOW, NOW + timedelta(seconds=3)) == timedelta(seconds=3)
