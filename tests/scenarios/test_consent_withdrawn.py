"""A newer profile that cannot be read stops marketing, and a tombstone ends its user: in streams and in delivery."""

import signal
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from drivers import command_line
from drivers.running_senders import wait_until
from drivers.whole_pipeline import pipeline

from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from schemas.codec import decode
from schemas.decisions import Decision
from schemas.events import Event
from schemas.topics import DECISIONS, EVENTS, PROFILES
from triggers.language.diagnostics import SourceFile

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

RULES = SourceFile(
    "hello.yaml",
    """
trigger: hello
purpose: marketing
on: wanted
send: thanks
---
trigger: later
purpose: transactional
on: bought
after: 12s
send: {template: thanks, to: event.mail}
""",
)
TEMPLATE = SourceFile("templates/thanks.liquid", "---\nsubject: Hello\n---\n<p>Hello</p>\n--- text ---\nHello\n")
NOW = datetime.now(UTC).isoformat()
YES, NO = {"granted": True, "time": NOW}, {"granted": False, "time": NOW}
SPOILT: dict[str, dict[str, Any] | bytes] = {
    "blank-address": {"address": "", "consent": {"marketing": NO}},
    "trailing-blank": {"address": "x@mail.example ", "consent": {"marketing": NO}},
    "other-purpose": {"consent": {"marketing": YES, "news ": YES}},
    "no-offset": {"consent": {"marketing": NO | {"time": "2026-01-05T10:00:00"}}},
    "nul": {"attributes": {"name": "a\0b"}},
    "not-json": b"{",
}


def profile(user: str, **fields: Any) -> bytes:
    return orjson.dumps({"user_id": user, "address": f"{user}@mail.example", "consent": {"marketing": YES}} | fields)


def event(user: str, kind: str, **properties: str) -> bytes:
    made = Event(id=f"{user}-{kind}", type=kind, user_id=user, time=datetime.now(UTC), properties=properties)
    return orjson.dumps(made.model_dump(mode="json"))


def decisions(kafka: str) -> list[Decision]:
    return [decode(Decision, message.value()) for message in read_all(kafka, DECISIONS.name)]


def test_no_mail_is_sent_on_an_older_consent_or_to_a_removed_user(servers, database_url, tmp_path):
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(RULES, template=TEMPLATE)
        run.start_streams()
        run.harbour.start_process()
        with Publisher(servers.kafka) as publisher:
            for user in ("control", "removed", *SPOILT):
                publisher.send(PROFILES.name, user.encode(), profile(user))
            publisher.flush()
            for user in ("control", "removed"):
                publisher.send(EVENTS.name, user.encode(), event(user, "bought", mail=f"other-{user}@mail.example"))
            publisher.flush()
            for user, spoilt in SPOILT.items():
                raw = spoilt if isinstance(spoilt, bytes) else profile(user, **spoilt)
                publisher.send(PROFILES.name, user.encode(), raw)
            publisher.send(PROFILES.name, b"removed", None)
            publisher.flush()
            publisher.send(EVENTS.name, b"witness", event("witness", "bought", mail="witness@mail.example"))
            for user in ("control", *SPOILT):
                publisher.send(EVENTS.name, user.encode(), event(user, "wanted"))
        wait_until(lambda: len(decisions(servers.kafka)) > len(SPOILT), "a decision of each user but the removed one")
        run.end_streams(signal.SIGKILL)
        run.start_streams()  # from the changelog, which has to say that the user is gone

        def witnessed() -> bool:  # its timer is due after those of all others
            return any(each.user_id == "witness" for each in decisions(servers.kafka))

        wait_until(witnessed, "the last timer")
        run.wait_drained()

        decided = {(each.user_id, each.trigger): (each.outcome, each.reason) for each in decisions(servers.kafka)}
        assert decided == {
            ("control", "hello"): ("send", None),
            ("control", "later"): ("send", None),
            ("witness", "later"): ("send", None),
            **{(user, "hello"): ("drop", "no_consent") for user in SPOILT},
        }
        books = run.books()
        mailed = sorted(mail.rcpt_to for mail in books.mails)
        assert mailed == ["control@mail.example", "other-control@mail.example", "witness@mail.example"]
        assert run.harbour.rows("SELECT 1 FROM recipients WHERE user_id = 'removed'") == []

        explained = {
            user: command_line.ebbtide("explain", "--user", user, "--replay", EBBTIDE_KAFKA=run.kafka)
            for user in ("control", "removed")
        }
        assert explained["control"].returncode == 0, explained["control"]
        assert "recomputed: the same as 2 recorded decisions" in explained["control"].stdout
        assert "decision  later, thanks: sent" in explained["control"].stdout
        assert "profile removed" in explained["removed"].stdout
