"""The database of delivery is lost in the middle of its work, and a backup from before takes its place."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import TEMPLATE, Harbour, a_command, harbour, have_topics, parsed, wait_until

from infra.postgres.migrate import migrate
from schemas.commands import SendCommand
from schemas.rules import text_hash
from schemas.topics import COMMANDS

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

EACH = 120
"""Commands before the backup, as many until the loss, and as many after it."""
WAITING = 5
"""Commands before and after the backup that wait for their template, so that they have no end when it is lost."""
LATE_TEMPLATE = f"{TEMPLATE}\nThis one came late."


class LossWorld:
    """A delivery in a process of its own, whose database can be lost."""

    def __init__(self, servers: RealServers, delivery: Harbour) -> None:
        self.servers, self.delivery = servers, delivery
        self.template = delivery.publish_template()
        self.commands: list[SendCommand] = []

    def publish(self, count: int = EACH, template: str | None = None) -> None:
        new = [a_command(self.delivery.publish_user(), template or self.template) for _ in range(count)]
        for command in new:
            self.delivery.publish_soon(COMMANDS.name, command.user_id, command)
        self.delivery.flush()
        self.commands += new

    def mailed(self) -> Counter[str]:
        ids = {command.id for command in self.commands}
        found = Counter(str(parsed(mail.raw)["X-Ebbtide-Command"]) for mail in self.delivery.sink.messages())
        return Counter({command: count for command, count in found.items() if command in ids})

    def await_mails(self, count: int) -> None:
        wait_until(lambda: self.mailed().total() >= count, f"{count} mails are out")

    def lose_database(self) -> None:
        """The delivery is killed, and its database is gone."""
        self.delivery.end_process(signal.SIGKILL)
        self.renew_database()

    def renew_database(self) -> None:
        """A new, empty database in place of the one that there is."""
        self.servers.drop_database(self.delivery.database_url)
        name = self.delivery.database_url.rpartition("/")[2]
        self.servers.create_database(name)

    def restore(self, folder: Path, *arguments: str) -> dict[str, int]:
        """Restores once the group has noticed that its member is gone."""
        done = wait_until(
            lambda: (
                (run := self.delivery.command("restore", str(folder), "--json", *arguments)).returncode == 0 and run
            ),
            "the group is empty",
        )
        assert done, "wait_until returns it"
        report: dict[str, int] = orjson.loads(done.stdout)
        return report

    def outbox_is_empty(self) -> bool:
        accepted = self.states()["accepted"] == len(self.commands)
        return accepted and self.delivery.rows("SELECT count(*) FROM ledger_outbox") == [(0,)]

    def states(self) -> Counter[str]:
        ids = [command.id for command in self.commands]
        rows = self.delivery.rows("SELECT state FROM ledger WHERE command_id = ANY(%s)", ids)
        return Counter(state for (state,) in rows)

    def in_doubt(self) -> list[str]:
        ids = [command.id for command in self.commands]
        query = "SELECT command_id FROM ledger WHERE state = 'in_doubt' AND command_id = ANY(%s)"
        return [command for (command,) in self.delivery.rows(query, ids)]


@contextmanager
def lost_world(servers: RealServers, directory: Path) -> Iterator[LossWorld]:
    have_topics(servers.kafka)
    url = servers.create_database()
    migrate(url)
    for delivery in harbour(servers.kafka, url, directory, in_doubt={}, template_wait_s=600.0):
        delivery.start_process()
        yield LossWorld(servers, delivery)
    servers.drop_database(url)


def test_a_restore_mails_nobody_twice_and_loses_no_command(servers: RealServers, tmp_path: Path) -> None:
    with lost_world(servers, tmp_path) as world:
        world.publish(WAITING, text_hash(LATE_TEMPLATE))
        world.publish()
        world.await_mails(EACH // 2)
        saved = world.delivery.command("backup", "--to", str(tmp_path / "backup"), "--json")
        assert saved.returncode == 0, saved.stderr
        world.publish(WAITING, text_hash(LATE_TEMPLATE))
        world.publish()
        world.await_mails(EACH + EACH // 2)
        world.lose_database()
        lost_at, before = datetime.now(UTC), world.mailed()
        world.publish()

        report = world.restore(tmp_path / "backup", "--lost-at", lost_at.isoformat())
        assert report["waiting"] == 0
        states, doubtful = world.states(), world.in_doubt()
        world.delivery.start_process()
        world.await_mails(before.total() + EACH)
        assert set(states) == {"accepted", "in_doubt"}
        assert states.total() == 2 * EACH + 2 * WAITING
        wait_until(lambda: world.states()["accepted"] == states["accepted"] + EACH, "what came later is accepted")
        assert set(world.mailed().values()) == {1}
        assert world.mailed().total() == before.total() + EACH, "of what may have been mailed nothing is mailed"
        assert world.delivery.publish_template(LATE_TEMPLATE) == text_hash(LATE_TEMPLATE)
        unsent = [command for command in doubtful if command not in before]
        who = ("--reason", "not in their log", "--by", "ada")
        assert world.delivery.command("senders", "settle", *unsent, "--as", "resend", *who).returncode == 0
        world.await_mails(3 * EACH + 2 * WAITING)
        assert set(world.mailed().values()) == {1}


def test_after_an_orderly_stop_what_waits_is_sent(servers: RealServers, tmp_path: Path) -> None:
    with lost_world(servers, tmp_path) as world:
        world.publish()
        world.await_mails(EACH // 2)
        assert world.delivery.command("backup", "--to", str(tmp_path / "backup")).returncode == 0
        world.publish()
        world.await_mails(2 * EACH)
        wait_until(world.outbox_is_empty, "every outcome is published")  # as `--unanswered send` asks for
        assert world.delivery.end_process(signal.SIGTERM) == 0
        world.publish()
        world.renew_database()

        report = world.restore(tmp_path / "backup", "--unanswered", "send")
        assert report["in_doubt"] == 0
        world.delivery.start_process()
        wait_until(lambda: world.states()["accepted"] == 3 * EACH, "all are accepted")
        assert set(world.mailed().values()) == {1}
        assert len(world.mailed()) == 3 * EACH


def test_a_backup_that_was_changed_or_a_database_in_use_is_refused(servers: RealServers, tmp_path: Path) -> None:
    with lost_world(servers, tmp_path) as world:
        world.publish()
        world.await_mails(EACH)
        folder = tmp_path / "backup"
        assert world.delivery.command("backup", "--to", str(folder)).returncode == 0
        again = world.delivery.command("backup", "--to", str(folder))
        assert (again.returncode, "not empty" in again.stderr) == (2, True)

        running = world.delivery.command("restore", str(folder))
        assert (running.returncode, "still run" in running.stderr) == (2, True)
        world.delivery.end_process(signal.SIGTERM)
        used = world.delivery.command("restore", str(folder))
        assert (used.returncode, "is in use" in used.stderr) == (2, True)

        file = folder / "ledger" / "public.ledger_outcomes.gz"
        file.write_bytes(file.read_bytes()[:-9])
        broken = world.delivery.command("restore", str(folder))
        assert (broken.returncode, "not as it was written" in broken.stderr) == (2, True)
        (folder / "manifest.json").unlink()
        unfinished = world.delivery.command("restore", str(folder))
        assert "not a backup, or one that did not end" in unfinished.stderr
