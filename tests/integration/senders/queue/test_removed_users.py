"""Users who are removed: what a removal costs, and what becomes of the commands that wait for them."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection, Connection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.profile_records import ProfileRemoval
from schemas.vocabulary import TRANSACTIONAL, LedgerState, SuppressionReason
from senders.policy.recipients import AddressHasher
from senders.policy.recipients_table import write_profiles
from senders.policy.send_check import SendCheck
from senders.queue import ledger, removal_sweep, removed_users
from senders.queue.ledger import Admission, DueCommand
from senders.queue.observer import LedgerObserver
from senders.queue.removal_sweep import RemovalSweep
from senders.queue.transitions import AttemptStart

pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)
MANY = 60_000


class Counts(LedgerObserver):
    """The commands that ended because their users were removed, by part."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    def withheld(self, count: int) -> None:
        self.parts.append(count)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def sweep(database_url: str, counts: Counts) -> AsyncIterator[RemovalSweep]:
    database = AsyncDatabase(database_url, Outage("timescale"))
    yield RemovalSweep(database, lambda: {0}, lambda: None, observer=counts)
    await database.close()


def fill(connection: Connection[Any], users: int) -> None:
    """MANY waiting commands of 1 KB, each of the users has as many."""
    connection.execute(
        """INSERT INTO ledger_queue (command_id, partition, priority, admitted_at, decided_at, next_attempt_at,
                                     state_at, state, user_id, trigger, purpose, command)
           SELECT gen_random_uuid(), n %% 8, 50, now(), %s, now() + interval '1 day', now(),
                  'deferred', 'user-' || n %% %s, 't', 'marketing', convert_to(repeat('x', 1000), 'UTF8')
           FROM generate_series(1, %s) AS n""",
        [NOW, users, MANY],
    )


def remove(connection: Connection[Any], *users: str, at: datetime = NOW) -> None:
    write_profiles(connection, [ProfileRemoval(user, at) for user in users])


def states(connection: Connection[Any]) -> dict[str, int]:
    return dict(connection.execute("SELECT state, count(*) FROM ledger GROUP BY state").fetchall())


async def test_a_removal_reads_no_row_of_the_queue_and_its_sweep_ends_all_of_them_in_parts(
    connection: Connection[Any], sweep: RemovalSweep, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, users=1_000)
    with connection.transaction():
        remove(connection, *(f"user-{number}" for number in range(500)))
        [read] = connection.execute(
            "SELECT seq_scan, coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables WHERE relname = 'ledger_queue'"
        ).fetchall()
    assert read == (0, 0)
    monkeypatch.setattr(removal_sweep, "BLOCKS", 1_024)
    monkeypatch.setattr(removal_sweep, "REST", 0)
    assert await sweep.sweep() == MANY // 2
    assert len(counts.parts) > 5
    assert max(counts.parts) < MANY // 8
    assert states(connection) == {"deferred": MANY // 2, "suppressed": MANY // 2}
    left = "SELECT count(*) FROM ledger_queue JOIN removed_users USING (user_id)"
    assert connection.execute(left).fetchall() == [(0,)]
    ended = "SELECT count(*) FROM ledger_outbox JOIN ledger_outcomes USING (command_id) WHERE reason = 'no_recipient'"
    assert connection.execute(ended).fetchall() == [(MANY // 2,)]


async def test_only_what_waits_and_was_decided_before_the_removal_ends(
    connection: Connection[Any], sweep: RemovalSweep
) -> None:
    before, later = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    commands = {
        state: a_command("u1", "h", decided_at=before, to="other@example.net")
        for state in ("admitted", "deferred", "started", "in_doubt")
    }
    after, of_another = a_command("u1", "h", decided_at=later), a_command("u2", "h", decided_at=before)
    admitted = [*commands.values(), after, of_another]
    ledger.admit(connection, [Admission.of(3, command) for command in admitted], NOW)
    for state, command in commands.items():
        connection.execute("UPDATE ledger_queue SET state = %s WHERE command_id = %s::uuid", [state, command.id])
    remove(connection, "u1")
    assert await sweep.sweep() == 2
    waiting = {key.hex for (key,) in connection.execute("SELECT command_id FROM ledger_queue")}
    assert waiting == {commands["started"].id, commands["in_doubt"].id, after.id, of_another.id}


async def test_a_sweep_is_made_once_for_each_removal(connection: Connection[Any], database_url: str) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as asking:
        assert await removed_users.begin_sweep(asking, None) is None, "nobody was removed"
        remove(connection, "u1")
        first = await removed_users.begin_sweep(asking, None)
        assert first is not None
        soon = await removed_users.begin_sweep(asking, first.at)
        assert soon is not None, "a removal may have been written while the first one began"
        late = first.at + 2 * removed_users.MARGIN
        assert await removed_users.begin_sweep(asking, late) is None
        connection.execute("UPDATE removed_users SET noted_at = now() + interval '5 minutes'")
        assert await removed_users.begin_sweep(asking, late) is not None


async def test_a_removal_is_kept_while_a_command_may_come(connection: Connection[Any], sweep: RemovalSweep) -> None:
    remove(connection, "old", "new")
    connection.execute("UPDATE removed_users SET noted_at = now() - interval '36 days' WHERE user_id = 'old'")
    await sweep.sweep()
    assert connection.execute("SELECT user_id FROM removed_users").fetchall() == [("new",)]


def test_the_last_removal_counts(connection: Connection[Any]) -> None:
    remove(connection, "u1")
    remove(connection, "u1", at=NOW - timedelta(days=1))
    assert connection.execute("SELECT removed_at FROM removed_users").fetchall() == [(NOW,)]
    remove(connection, "u1", at=NOW + timedelta(days=1))
    assert connection.execute("SELECT removed_at FROM removed_users").fetchall() == [(NOW + timedelta(days=1),)]


async def test_no_mail_begins_whose_user_was_removed_since_it_was_taken(
    connection: Connection[Any], database_url: str
) -> None:
    hasher = AddressHasher(b"a secret of the tests")
    check = SendCheck(hasher, stale_after=timedelta(seconds=5))
    taken = a_command("u1", "h", purpose=TRANSACTIONAL, to="other@example.net", decided_at=NOW)
    due = DueCommand(taken, 0, LedgerState.DEFERRED, 1, NOW, NOW)
    start = AttemptStart(due, hasher("other@example.net"), NOW)
    async with await AsyncConnection.connect(database_url, autocommit=True) as asking:
        assert await check(asking, [start]) == {}
        remove(connection, "u1")
        refused = (await check(asking, [start]))[taken.id]
    assert (refused.state, refused.reason) == (LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT)
