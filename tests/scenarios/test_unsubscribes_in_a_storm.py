"""Thousands of unsubscribes while mail waits, is retried and goes out slowly: they count within seconds.

Every other user withdraws consent by a profile, the rest follow the link of their mail, as mail programs do (RFC 8058).
Each mail is counted where the receiver sees it begin, against the time at which the log has the profile, or at which
the link was answered with 200.
"""

import asyncio
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers
from drivers.recipient_pages import PAGES, SECRET, path_of, recipient_edge
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from drivers.slow_receiver import in_place_of_the_sink

from infra.kafka.topic_reader import read_all
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS, PROFILES
from schemas.vocabulary import LedgerState, SuppressionReason
from senders.content.links import LinkKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

EARLY, USERS = 300, 3_000
"""The mails of the first ones are retried when the storm comes; those of the others wait."""
CONNECTIONS = 16
REPLY_S = 0.05
P99_S, LAST_S = 2.0, 5.0
LATEST_S = 10.0
"""On a machine that does much else. Without the unsubscribes, mail would go out for over a minute."""
BATCH, PAUSE_S = 100, 0.1


class StormyReceiver(socketserver.ThreadingTCPServer):
    """Needs a while for each reply, and defers each mail once."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        self.begun: dict[str, list[float]] = {}
        """When mails to each recipient began."""
        super().__init__(("127.0.0.1", port), _StormyHandler)


class _StormyHandler(socketserver.StreamRequestHandler):
    server: StormyReceiver

    def handle(self) -> None:
        self._reply(b"220 ready")
        began = 0.0
        while line := self.rfile.readline():
            answer = b"250 ok"
            if line.upper().startswith(b"MAIL"):
                began = time.time()
            elif line.upper().startswith(b"RCPT"):
                attempts = self.server.begun.setdefault(line.decode().partition("<")[2].partition(">")[0], [])
                attempts.append(began)
                answer = b"451 4.7.1 later" if len(attempts) == 1 else answer
            elif line.upper().startswith(b"DATA"):
                self._reply(b"354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
            self._reply(answer)

    def _reply(self, line: bytes) -> None:
        time.sleep(REPLY_S)
        self.wfile.write(line + b"\r\n")


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(
        servers.kafka,
        database_url,
        tmp_path,
        connections=CONNECTIONS,
        retry_first_s=1.0,
        retry_longest_s=2.0,
        public_url=PAGES.origin,
        link_keys=[SECRET],
    )


def send(delivery: Harbour, users: Sequence[str], template: str) -> dict[str, str]:
    """Returns the id of each user's command."""
    commands = {user: a_command(user, template) for user in users}
    for user, command in commands.items():
        delivery.publish_soon(COMMANDS.name, user, command)
    delivery.flush()
    return {user: command.id for user, command in commands.items()}


def unsubscribe(delivery: Harbour, users: Sequence[str]) -> None:
    """Withdraw consents, batch after batch, while mail goes out."""
    no = {"marketing": Consent(granted=False, time=datetime.now(UTC))}
    for at in range(0, len(users), BATCH):
        for user in users[at : at + BATCH]:
            profile = Profile(user_id=user, address=f"ann+{user}@example.net", consent=no)
            delivery.publish_soon(PROFILES.name, user, profile)
        delivery.flush()
        threading.Event().wait(PAUSE_S)


async def follow_links(delivery: Harbour, commands: Mapping[str, str]) -> dict[str, float]:
    """Unsubscribe by the links of these users' mails, batch after batch. Returns when each was answered with 200."""
    answered: dict[str, float] = {}

    async def follow(user: str) -> None:
        answer = await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, commands[user]), {}, b"")
        assert answer.status == 200
        answered[user] = time.time()

    users = list(commands)
    async with recipient_edge(delivery.kafka, delivery.database_url) as edge:
        for at in range(0, len(users), BATCH):
            await asyncio.gather(*map(follow, users[at : at + BATCH]))
            await asyncio.sleep(PAUSE_S)
    return answered


def unsubscribed_at(delivery: Harbour, users: Sequence[str]) -> dict[str, float]:
    """When the log has each user's last profile, by its own clock."""
    known = set(users)
    return {
        user: message.timestamp()[1] / 1000
        for message in read_all(delivery.kafka, PROFILES.name)
        if (user := (message.key() or b"").decode()) in known
    }


def begun_late(delivery: Harbour, record_property: Callable[[str, object], None]) -> list[float]:
    """How long after each unsubscribe of a storm a mail still began, in order; 0 where none did."""
    with in_place_of_the_sink(delivery, StormyReceiver) as receiver:
        template = delivery.publish_template()
        users = [f"storm-{number}-{delivery.sink.port}" for number in range(USERS)]
        yes = {"marketing": Consent(granted=True, time=datetime.now(UTC))}
        for user in users:
            delivery.publish_soon(
                PROFILES.name, user, Profile(user_id=user, address=f"ann+{user}@example.net", consent=yes)
            )
        delivery.start_process()
        commands = send(delivery, users[:EARLY], template)
        wait_until(lambda: sum(len(each) > 1 for each in list(receiver.begun.values())) > 20, "mails that are retried")

        commands |= send(delivery, users[EARLY:], template)
        by_link = users[::2]
        known = "SELECT count(*) FROM ledger WHERE user_id = ANY(%s)"
        wait_until(lambda: delivery.rows(known, by_link) == [(len(by_link),)], "every command in the ledger")
        with ThreadPoolExecutor(1) as pool:
            links = {user: commands[user] for user in by_link}
            following = pool.submit(lambda: asyncio.run(follow_links(delivery, links)))
            unsubscribe(delivery, users[1::2])
            times = following.result(HANGS_AFTER_S)
        ended = "SELECT count(*) FROM ledger WHERE state IN ('accepted', 'suppressed') AND user_id = ANY(%s)"
        wait_until(lambda: delivery.rows(ended, users) == [(USERS,)], "every command ended")

        times |= unsubscribed_at(delivery, users[1::2])
        late = sorted(max(0.0, begun_after(receiver, user, at)) for user, at in times.items())
    counted = "SELECT state, reason, count(*) FROM ledger WHERE user_id = ANY(%s) GROUP BY state, reason"
    found = delivery.rows(counted, users)
    suppressed = {reason: count for state, reason, count in found if state == LedgerState.SUPPRESSED}
    assert len(times) == USERS
    assert suppressed.keys() == {SuppressionReason.NO_CONSENT, SuppressionReason.SUPPRESSED}
    assert min(suppressed.values()) > USERS / 4, "the storm came while most mail waited"
    for how, some in (("link", users[::2]), ("profile", users[1::2])):
        spans = sorted(max(0.0, begun_after(receiver, user, times[user])) for user in some)
        figures = (spans[-len(some) // 100], spans[-1])
        record_property(f"seconds from unsubscribe by {how} to the last mail begun: p99, last", figures)
    return late


def test_no_mail_begins_to_a_user_who_unsubscribed_in_a_storm(
    delivery: Harbour, record_property: Callable[[str, object], None]
) -> None:
    assert begun_late(delivery, record_property)[-1] < LATEST_S


@pytest.mark.slow
def test_unsubscribes_in_a_storm_count_within_seconds(
    delivery: Harbour, record_property: Callable[[str, object], None]
) -> None:
    late = begun_late(delivery, record_property)
    assert late[-USERS // 100] < P99_S
    assert late[-1] < LAST_S


def begun_after(receiver: StormyReceiver, user: str, at: float) -> float:
    """How long after `at` the last mail to a user began; negative if it began before, or none did."""
    return max(receiver.begun.get(f"ann+{user}@example.net", []), default=at) - at
