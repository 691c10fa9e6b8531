"""Records that cannot be read or processed are put aside with their cause and place; the rest goes on."""

from datetime import UTC, datetime

import pytest
from drivers.command_line import ebbtide
from drivers.whole_pipeline import PARTITIONS, THANKS, orders, pipeline

from infra.kafka.publisher import Publisher
from schemas.codec import encode, partition_for
from schemas.events import Event
from schemas.topics import EVENTS
from schemas.vocabulary import DeadLetterCause
from triggers.language.diagnostics import SourceFile

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

PRICEY = SourceFile(
    "pricey.yaml",
    """
trigger: pricey
purpose: transactional
on: {event: order_completed, where: event.total > 100}
send: {template: thanks, data: {order_id: event.order_id}}
""",
)


def test_bad_records_become_dead_letters_and_delay_no_other_record(servers, database_url, tmp_path):
    now = datetime.now(UTC)
    wrong = (partition_for(b"astray", PARTITIONS) + 1) % PARTITIONS
    order = {"type": "order_completed", "time": now}
    fails = Event(id="e2", user_id="u2", properties={"order_id": "x", "total": "a lot"}, **order)
    astray = Event(id="e3", user_id="astray", properties={"order_id": "y", "total": 1}, **order)
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS, PRICEY)
        run.publish_users(["u1", "u2"])
        with Publisher(servers.kafka) as publisher:
            publisher.send(EVENTS.name, b"u1", b"{not json")
            publisher.send(EVENTS.name, b"u1", b'{"id": "e1", "user_id": "u1"}')
            publisher.send(EVENTS.name, b"u2", encode(fails))
            publisher.send(EVENTS.name, b"astray", encode(astray), partition=wrong)
        run.publish_events(orders(["u1"], now))
        run.start_streams()
        run.harbour.start_process()
        run.wait_drained()

        books = run.books()
        assert books.dead_letters == {
            DeadLetterCause.NOT_JSON: 1,
            DeadLetterCause.INVALID: 1,
            DeadLetterCause.RULE_ERROR: 1,
            DeadLetterCause.MISROUTED: 1,
        }
        assert sorted(mail.rcpt_to for mail in books.mails) == ["u1@mail.example", "u2@mail.example"]

        listed = ebbtide("dead-letters", "list", "--cause", "rule_error", EBBTIDE_KAFKA=servers.kafka)
        assert listed.returncode == 0, listed.stderr
        assert "rule_error" in listed.stdout
        assert "pricey: " in listed.stdout
        assert "1 dead letter\n" in listed.stdout
