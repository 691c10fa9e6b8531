"""Delivery while servers are down, and after a kill: no mail is lost, and only mails in doubt are sent twice."""

import json
import select
import signal
import socket
import socketserver
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, Tail, a_command, harbour, have_topics, parsed, wait_until
from drivers.serving import serving

from infra.kafka.client import KafkaAway
from infra.kafka.connection import Connection
from infra.service.faults import is_fenced
from schemas.codec import decode
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.topics import COMMANDS, DEAD_LETTERS, PROFILES
from schemas.vocabulary import LedgerState
from senders.app import user_partitions
from senders.channels.channel import RealMailRefused

pytestmark = pytest.mark.servers

DONE = (LedgerState.ACCEPTED, LedgerState.IN_DOUBT)


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path)


def publish_commands(delivery: Harbour, count: int, **changes: object) -> list[SendCommand]:
    template = delivery.publish_template()
    users = [delivery.publish_user() for _ in range(20)]
    commands = [a_command(users[number % len(users)], template, **changes) for number in range(count)]
    for command in commands:
        delivery.publish(COMMANDS.name, command.user_id, command)
    return commands


def states(delivery: Harbour, commands: list[SendCommand]) -> Counter[str]:
    ids = [command.id for command in commands]
    return Counter(state for (state,) in delivery.rows("SELECT state FROM ledger WHERE command_id = ANY(%s)", ids))


def all_done(delivery: Harbour, commands: list[SendCommand], ends: Sequence[LedgerState] = DONE) -> Counter[str]:
    def done() -> Counter[str]:
        found = states(delivery, commands)
        return found if sum(found[state] for state in ends) == len(commands) else Counter()

    return wait_until(done, f"{len(commands)} commands done")


def mails_by_command(delivery: Harbour) -> Counter[str]:
    return Counter(str(parsed(mail.raw)["X-Ebbtide-Command"]) for mail in delivery.sink.messages())


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


@contextmanager
def one_reply(port: int, to_final_dot: bytes) -> Iterator[None]:
    """A mail server that accepts every command, and gives this reply to every message."""

    class OneReplyHandler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            while line := self.rfile.readline():
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    while self.rfile.readline() not in (b".\r\n", b""):
                        pass
                    self.wfile.write(to_final_dot)
                else:
                    self.wfile.write(b"250 ok\r\n")

    with serving(Threads(("127.0.0.1", port), OneReplyHandler)):
        yield


@contextmanager
def another_way(port: int, server: str) -> Iterator[None]:
    """A server, also at this port."""
    host, _, its_port = server.rpartition(":")

    class WayHandler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(its_port))) as there:
                ways = {self.request: there, there: self.request}
                while True:
                    for source in select.select(list(ways), [], [])[0]:
                        if not (data := source.recv(65_536)):
                            return
                        ways[source].sendall(data)

    with serving(Threads(("127.0.0.1", port), WayHandler)):
        yield


def some_done(delivery: Harbour, at_least: int) -> None:
    wait_until(lambda: sum(1 for _ in delivery.sink.messages()) >= at_least, f"{at_least} mails")


def test_delivery_stops_within_five_seconds_and_leaves_no_command_started(delivery: Harbour) -> None:
    delivery.start()
    commands = publish_commands(delivery, 100)
    some_done(delivery, 10)
    assert delivery.stop() < 5
    assert states(delivery, commands)[LedgerState.STARTED] == 0
    delivery.start()
    assert all_done(delivery, commands) == {LedgerState.ACCEPTED: 100}
    assert set(mails_by_command(delivery).values()) == {1}


@pytest.mark.parametrize("purpose", ["marketing", "transactional"])
def test_a_kill_loses_no_mail_and_duplicates_only_those_in_doubt(delivery: Harbour, purpose: str) -> None:
    delivery.start_process()
    commands = publish_commands(delivery, 300, purpose=purpose)
    some_done(delivery, 40)
    delivery.end_process(signal.SIGKILL)
    begun = {id_ for (id_,) in delivery.rows("SELECT command_id FROM ledger WHERE state = 'started'")}
    assert len(begun) <= delivery.settings["connections"]
    delivery.start_process()
    ends = DONE if purpose == "marketing" else [LedgerState.ACCEPTED]  # else doubt is followed by a second mail
    found = all_done(delivery, commands, ends)
    assert delivery.end_process(signal.SIGTERM) == 0

    mailed = mails_by_command(delivery)
    doubled = {command for command, count in mailed.items() if count > 1}
    assert doubled <= begun
    if purpose == "marketing":
        assert found[LedgerState.IN_DOUBT] == len(begun)
        assert not doubled
    else:
        assert found == {LedgerState.ACCEPTED: 300}
        assert set(mailed) == {command.id for command in commands}
    accepted = {id_ for (id_,) in delivery.rows("SELECT command_id FROM ledger WHERE state = 'accepted'")}
    assert accepted <= set(mailed)


def test_a_database_restart_loses_no_mail(
    delivery: Harbour, servers: RealServers, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery.start()
    commands = publish_commands(delivery, 150)
    some_done(delivery, 20)
    servers.timescale_server.stop()
    more = publish_commands(delivery, 50)
    servers.timescale_server.start()
    assert all_done(delivery, commands + more)[LedgerState.ACCEPTED] == 200
    assert set(mails_by_command(delivery).values()) == {1}
    ids = [command.id for command in commands + more]
    query = "SELECT count(*) FROM deliveries WHERE kind = 'accepted' AND command_id = ANY(%s)"
    wait_until(lambda: delivery.rows(query, ids)[0][0] == 200, "200 rows")
    output = capfd.readouterr()
    assert (output.out + output.err).count("timescale_away") == 1
    assert (output.out + output.err).count("timescale_back") == 1


def test_delivery_stops_in_time_even_while_the_database_is_down(delivery: Harbour, servers: RealServers) -> None:
    delivery.start()
    commands = publish_commands(delivery, 200)
    some_done(delivery, 20)
    servers.timescale_server.kill()
    try:
        assert delivery.stop() < 5
    finally:
        servers.timescale_server.start()
    delivery.start()
    found = all_done(delivery, commands)
    assert found[LedgerState.IN_DOUBT] <= delivery.settings["connections"]
    assert set(mails_by_command(delivery).values()) == {1}


def nested(levels: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(levels):
        tree = [tree]
    return tree


@pytest.mark.parametrize("attributes", [{"tree": nested(300)}, {"text": "\x00"}])
def test_a_profile_that_cannot_be_stored_becomes_a_dead_letter_and_stops_no_other(
    delivery: Harbour, attributes: dict[str, Any]
) -> None:
    user_id = f"deep-{uuid.uuid4()}"
    letters = Tail(delivery.kafka, DEAD_LETTERS.name)
    profile = {"user_id": user_id, "address": "deep@example.net", "attributes": attributes}
    delivery.publish(PROFILES.name, user_id, json.dumps(profile).encode())
    commands = publish_commands(delivery, 5)
    delivery.start()
    assert all_done(delivery, commands) == {LedgerState.ACCEPTED: 5}

    def of_the_user() -> list[DeadLetter]:
        found = [decode(DeadLetter, value) for value in letters.read()]
        return [letter for letter in found if letter.original_key() == user_id.encode()]

    [letter] = wait_until(of_the_user, "a dead letter")
    letters.close()
    assert letter.reader == "ebbtide-recipients"
    assert delivery.rows("SELECT * FROM recipients WHERE user_id = %s", user_id) == []
    delivery.stop()


def test_a_reply_that_the_database_refuses_is_recorded_without_its_text(delivery: Harbour) -> None:
    delivery.start()
    delivery.sink.stop()
    with one_reply(delivery.sink.port, b"250 taken \x00 as it is\r\n"):
        [command] = publish_commands(delivery, 1)
        delivery.wait_for(command, LedgerState.ACCEPTED)
    [(reply,)] = delivery.rows("SELECT reply FROM ledger WHERE command_id = %s", command.id)
    assert reply["code"] == 250
    delivery.sink.start()
    assert all_done(delivery, publish_commands(delivery, 3)) == {LedgerState.ACCEPTED: 3}


def test_marketing_waits_while_the_view_is_behind_and_then_continues(delivery: Harbour) -> None:
    delivery.settings["consent_stale_s"] = 0.000_001
    delivery.start()
    [held] = publish_commands(delivery, 1)
    [sent] = publish_commands(delivery, 1, purpose="transactional")
    delivery.wait_for(sent, LedgerState.ACCEPTED)
    query = "SELECT state, reason, attempt FROM ledger WHERE command_id = %s"
    wait_until(lambda: delivery.rows(query, held.id) == [("admitted", "consent_stale", 0)], "the reason")
    delivery.stop()
    delivery.settings["consent_stale_s"] = 5
    delivery.start()
    delivery.wait_for(held, LedgerState.ACCEPTED)


def test_while_the_smtp_server_is_down_commands_wait_unstarted_and_the_log_says_so_once(
    delivery: Harbour, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery.sink.stop()
    delivery.start()
    commands = publish_commands(delivery, 30)
    wait_until(lambda: states(delivery, commands)[LedgerState.ADMITTED] == 30, "30 commands admitted")
    wait_until(lambda: "relay_away" in capfd.readouterr().out, "the outage is logged")
    delivery.sink.start()
    assert all_done(delivery, commands) == {LedgerState.ACCEPTED: 30}
    attempts = delivery.rows("SELECT DISTINCT attempt FROM ledger")
    assert attempts == [(1,)], "a refused connection counts as no attempt"
    output = capfd.readouterr().out
    assert "relay_away" not in output
    assert output.count("relay_back") == 1


class Gatekeeper:
    """A proxy before the sink that answers MAIL with 421 once a connection has carried its number of mails."""

    def __init__(self, sink_port: int, mails_per_connection: int, port: int = 0, at_most: int = 1_000_000) -> None:
        self._sink_port = sink_port
        self._limit = mails_per_connection
        self._at_most = at_most
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end of the test
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self.connections == self._at_most:
                    self._listener.close()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._sink_port)) as sink, suppress(OSError):
            answers, orders = sink.makefile("rb"), client.makefile("rb")
            client.sendall(answers.readline())
            mails = 0
            for order in orders:
                if order.startswith(b"MAIL") and mails == self._limit:
                    client.sendall(b"421 4.7.0 too many messages in this session\r\n")
                    return
                sink.sendall(order)
                if order.startswith(b"DATA"):
                    mails += 1
                    client.sendall(answers.readline())
                    while order != b".\r\n":
                        order = orders.readline()
                        sink.sendall(order)
                while (answer := answers.readline())[3:4] == b"-":
                    client.sendall(answer)
                client.sendall(answer)

    def close(self) -> None:
        self._listener.close()


def test_a_limit_of_mails_a_session_costs_no_command_an_attempt(delivery: Harbour) -> None:
    gatekeeper = Gatekeeper(delivery.sink.port, 3)
    delivery.settings["smtp_port"] = gatekeeper.port
    delivery.settings |= {"retry_first_s": 3600.0, "retry_longest_s": 3600.0}
    delivery.settings["connections"] = 2
    delivery.start()
    try:
        commands = publish_commands(delivery, 40)
        assert all_done(delivery, commands) == {LedgerState.ACCEPTED: 40}
    finally:
        delivery.stop()
        gatekeeper.close()
    assert delivery.rows("SELECT DISTINCT attempt FROM ledger") == [(1,)]
    assert set(mails_by_command(delivery).values()) == {1}
    assert gatekeeper.connections >= 40 // 3


def test_an_attempt_at_a_server_that_goes_down_at_mail_is_undone(delivery: Harbour) -> None:
    gatekeeper = Gatekeeper(delivery.sink.port, 0, at_most=1)
    delivery.settings["smtp_port"] = gatekeeper.port
    delivery.settings |= {"retry_first_s": 3600.0, "retry_longest_s": 3600.0}
    delivery.settings["connections"] = 1
    delivery.start()
    [command] = publish_commands(delivery, 1)
    wait_until(lambda: gatekeeper.connections == 1, "the connection that ends at MAIL")
    query = "SELECT state, attempt FROM ledger WHERE command_id = %s AND started_at IS NOT NULL"
    wait_until(lambda: delivery.rows(query, command.id) == [("admitted", 0)], "the attempt is taken back")
    restarted = Gatekeeper(delivery.sink.port, 100, port=gatekeeper.port)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    delivery.stop()
    restarted.close()
    assert delivery.rows("SELECT attempt FROM ledger") == [(1,)]


def test_two_workers_share_the_partitions_and_send_each_command_once(
    delivery: Harbour,
) -> None:
    delivery.start()
    commands = publish_commands(delivery, 150)
    some_done(delivery, 10)
    delivery.start_process()

    def two_owners() -> bool:
        commands.extend(publish_commands(delivery, 20))
        return len(delivery.rows("SELECT DISTINCT owner FROM ledger_partitions")) == 2

    wait_until(two_owners, "two owners")
    assert delivery.stop() < 5
    assert all_done(delivery, commands) == {LedgerState.ACCEPTED: len(commands)}
    assert set(mails_by_command(delivery).values()) == {1}


def test_a_destination_beyond_loopback_stops_the_start(delivery: Harbour) -> None:
    delivery.settings["smtp_host"] = "192.0.2.7"
    delivery.start()
    wait_until(lambda: not delivery.runs, "delivery has ended")
    with pytest.raises(RealMailRefused, match=r"192\.0\.2\.7.*EBBTIDE_ALLOW_REAL_MAIL"):
        delivery.stop()


def test_a_worker_that_starts_while_kafka_is_away_says_so_once_and_begins_when_it_answers(
    delivery: Harbour, servers: RealServers, capfd: pytest.CaptureFixture[str]
) -> None:
    port, said = free_port(), []
    delivery.settings["kafka"] = f"127.0.0.1:{port}"

    def count(event: str) -> int:
        said.append("".join(capfd.readouterr()))
        return "".join(said).count(event)

    delivery.start()
    wait_until(lambda: count("kafka_away"), "it says that Kafka is away")
    with another_way(port, servers.kafka):
        assert all_done(delivery, publish_commands(delivery, 3)) == {LedgerState.ACCEPTED: 3}
        assert delivery.stop() < 5
    assert (count("kafka_away"), count("kafka_back"), count("Traceback")) == (1, 1, 0)


def test_a_worker_that_waits_for_kafka_ends_when_it_is_told_to(delivery: Harbour) -> None:
    delivery.settings["kafka"] = f"127.0.0.1:{free_port()}"
    delivery.start()
    assert delivery.runs
    assert delivery.stop() < 5


def test_a_start_without_kafka_fails_and_says_so() -> None:
    with pytest.raises(KafkaAway, match=r"Kafka does not answer at 127\.0\.0\.1:\d+ "):
        user_partitions(Connection(f"127.0.0.1:{free_port()}"), timeout_s=1.0)


def test_of_two_workers_with_one_instance_name_the_earlier_ends(delivery: Harbour) -> None:
    delivery.settings["sender_instance"] = delivery.directory.name
    delivery.start()
    all_done(delivery, publish_commands(delivery, 1))
    delivery.start_process()
    wait_until(lambda: not delivery.runs, "the earlier has ended", 30)
    with pytest.raises(KafkaException, match="Static consumer fenced") as fenced:
        delivery.stop()
    assert is_fenced(fenced.value)
    assert all_done(delivery, publish_commands(delivery, 1)) == {LedgerState.ACCEPTED: 1}
