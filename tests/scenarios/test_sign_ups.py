"""Sign-ups whose profile and event are published together: Kafka keeps no order over two topics; no mail is lost."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.whole_pipeline import orders, pipeline

from infra.kafka.topic_reader import read_all
from schemas.codec import decode
from schemas.decisions import Decision
from schemas.topics import DECISIONS
from triggers.language.diagnostics import SourceFile

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

WELCOME = SourceFile(
    "welcome.yaml",
    """
trigger: welcome
purpose: marketing
on: order_completed
send: {template: thanks, data: {order_id: event.order_id}}
""",
)


def decided(kafka: str) -> Counter[str]:
    """Decisions by outcome and reason."""
    found = [decode(Decision, message.value()) for message in read_all(kafka, DECISIONS.name)]
    return Counter(f"{each.outcome} {each.reason or ''}".strip() for each in found)


def test_an_event_that_is_read_before_its_profile_has_its_mail_sent_once(servers, database_url, tmp_path):
    early = [f"early-{number}" for number in range(20)]
    together = [f"together-{number}" for number in range(20)]
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(WELCOME)
        run.start_streams()
        run.harbour.start_process()
        run.publish_events(orders(early, datetime.now(UTC), "early"))
        wait_until(lambda: decided(servers.kafka)["defer profile_unknown"] == 20, "all wait for their profile")
        run.publish_users(early + together)
        run.publish_events(orders(together, datetime.now(UTC), "together"))
        run.wait_drained()

        wait_until(lambda: run.mails() == 40, "everybody has a mail")
        assert decided(servers.kafka)["send"] == 40
        assert not {"drop no_consent", "drop profile_unknown"} & decided(servers.kafka).keys()
        assert set(run.mailed().values()) == {1}
