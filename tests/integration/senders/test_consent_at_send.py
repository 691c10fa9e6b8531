"""Consent where a mail begins: no mail that waited for a slow receiver or an absent database escapes an unsubscribe."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from drivers.slow_receiver import REPLY_S, SlowReceiver, in_place_of_the_sink

from schemas.commands import SendCommand
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS, PROFILES
from schemas.vocabulary import TRANSACTIONAL, LedgerState, SuppressionReason

pytestmark = pytest.mark.servers

CONNECTIONS = 2
STALE_S = 5.0
"""How old the view may be by which marketing is sent."""


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path, connections=CONNECTIONS)


def publish_commands(delivery: Harbour, count: int, **changes: Any) -> list[SendCommand]:
    template = delivery.publish_template()
    commands = [a_command(delivery.publish_user(), template, **changes) for _ in range(count)]
    for command in commands:
        delivery.publish_soon(COMMANDS.name, command.user_id, command)
    delivery.flush()
    return commands


def publish_profiles(delivery: Harbour, commands: Sequence[SendCommand], local_part: str, *, granted: bool) -> None:
    consent = {"marketing": Consent(granted=granted, time=datetime.now(UTC))}
    for command in commands:
        address = f"{local_part}+{command.user_id}@example.net"
        profile = Profile(user_id=command.user_id, address=address, consent=consent)
        delivery.publish_soon(PROFILES.name, command.user_id, profile)
    delivery.flush()


def wait_until_ended(delivery: Harbour, commands: Sequence[SendCommand]) -> Counter[tuple[str, str | None, int]]:
    """The state, reason and attempt of these commands, once all of them ended."""
    query = "SELECT state, reason, attempt FROM ledger WHERE command_id = ANY(%s)"

    def ended() -> Counter[tuple[str, str | None, int]]:
        rows = delivery.rows(query, [command.id for command in commands])
        over = len(rows) == len(commands) and all(LedgerState(state).terminal for state, *_ in rows)
        return Counter(rows) if over else Counter()  # type: ignore[arg-type]

    return wait_until(ended, "every command ended")


def wait_for_view(delivery: Harbour, commands: Sequence[SendCommand], condition: str) -> None:
    users = [command.user_id for command in commands]
    query = f"SELECT count(*) FROM recipients WHERE user_id = ANY(%s) AND {condition}"
    wait_until(lambda: delivery.rows(query, users) == [(len(users),)], "the view knows it")


def wait_for_first_mails(receiver: SlowReceiver) -> None:
    wait_until(lambda: len(receiver.begun) >= CONNECTIONS, "the first mails")


def begun_after(delivery: Harbour, commands: Sequence[SendCommand], moment_s: float) -> list[str]:
    """The users whose mail began after a moment, as the ledger says: the receiver hears of it later."""
    ids = [command.id for command in commands]
    query = "SELECT user_id FROM ledger WHERE command_id = ANY(%s) AND started_at > to_timestamp(%s)"
    return [user for (user,) in delivery.rows(query, ids, moment_s)]


def test_no_mail_behind_a_slow_receiver_begins_after_its_user_unsubscribed(delivery: Harbour) -> None:
    with in_place_of_the_sink(delivery, SlowReceiver) as receiver:
        delivery.start()
        commands = publish_commands(delivery, 40)
        wait_for_first_mails(receiver)
        publish_profiles(delivery, commands, "ann", granted=False)
        wait_for_view(delivery, commands, "consent->'marketing'->'granted' = 'false'")
        known_at = time.time()
        ended = wait_until_ended(delivery, commands)
    assert begun_after(delivery, commands, known_at) == []
    assert ended == {
        (LedgerState.ACCEPTED, None, 1): len(receiver.begun),
        (LedgerState.SUPPRESSED, SuppressionReason.NO_CONSENT, 0): 40 - len(receiver.begun),
    }


def test_no_mail_begins_after_an_outage_of_the_database_in_which_its_user_unsubscribed(
    delivery: Harbour, servers: RealServers
) -> None:
    with in_place_of_the_sink(delivery, SlowReceiver) as receiver:
        delivery.start()
        commands = publish_commands(delivery, 60)
        wait_for_first_mails(receiver)
        servers.timescale_server.stop()
        publish_profiles(delivery, commands, "ann", granted=False)
        unsubscribed_at = time.time()
        time.sleep(6 * REPLY_S)  # the mails that had begun end
        servers.timescale_server.start()
        ended = wait_until_ended(delivery, commands)
    assert begun_after(delivery, commands, unsubscribed_at + STALE_S) == []
    assert ended[LedgerState.SUPPRESSED, SuppressionReason.NO_CONSENT, 0] == 60 - len(receiver.begun)


def test_a_mail_whose_address_changed_before_it_began_goes_to_the_new_address(delivery: Harbour) -> None:
    with in_place_of_the_sink(delivery, SlowReceiver) as receiver:
        delivery.start()
        commands = publish_commands(delivery, 20)
        wait_for_first_mails(receiver)
        publish_profiles(delivery, commands, "new", granted=True)
        wait_for_view(delivery, commands, "starts_with(address, 'new+')")
        known_at = time.time()
        assert wait_until_ended(delivery, commands) == {(LedgerState.ACCEPTED, None, 1): 20}
    late = begun_after(delivery, commands, known_at)
    assert late
    assert receiver.begun.keys() >= {f"new+{user}@example.net" for user in late}


def test_a_command_that_expires_behind_a_slow_receiver_costs_no_attempt(delivery: Harbour) -> None:
    with in_place_of_the_sink(delivery, SlowReceiver) as receiver:
        delivery.start()
        commands = publish_commands(
            delivery, 20, purpose=TRANSACTIONAL, expires_at=datetime.now(UTC) + timedelta(seconds=4)
        )
        ended = wait_until_ended(delivery, commands)
    assert ended[LedgerState.EXPIRED, None, 0] > 0
    assert ended[LedgerState.EXPIRED, None, 0] + len(receiver.begun) == 20
