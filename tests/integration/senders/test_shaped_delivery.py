"""Delivery by a shaping file, as its process runs it: limits by domain, a block that moves mails, another file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.dns_server import answering
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, harbour, have_topics, wait_until
from drivers.shaped_delivery import FREE, in_state, limited, publish, shape, zones_of

from infra.local.sink_process import ProviderSink
from schemas.vocabulary import LedgerState, ReplyClass

pytestmark = pytest.mark.servers

SLOW = '[domain."slow.example"]\nmax_message_rate = "10/h"\n'
BLOCKED = "[[default.automation]]\npattern = 'blocked'\naction = 'suspend'\nduration = '1h'\n"
BLOCK = '[[provider]]\nname = "all"\n[[provider.replies]]\nat = "rcpt"\ntext = "550 5.7.1 our list has blocked you"\n'


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    zones = zones_of("slow.example", "fast.example")
    zones.put("none.example", "MX", "0 .")
    with answering(zones):
        yield from harbour(
            servers.kafka,
            database_url,
            tmp_path,
            shaping=tmp_path / "shaping.toml",
            dns_servers=[f"127.0.0.1:{zones.port}"],
            allow_private_mx=True,
        )


def test_a_domain_at_its_limit_waits_in_the_ledger_and_holds_up_no_other(delivery: Harbour) -> None:
    shape(delivery, FREE + SLOW)
    delivery.start()
    slow = publish(delivery, 300, "slow.example")
    wait_until(lambda: len(limited(delivery)) >= 250, "commands that wait for the limit")
    fast = publish(delivery, 50, "fast.example")
    wait_until(lambda: in_state(delivery, fast, LedgerState.ACCEPTED) == 50, "the mails of the other domain")

    assert in_state(delivery, slow, LedgerState.ACCEPTED) <= 2
    assert {attempt for _, attempt in limited(delivery)} == {0}, "waiting is no attempt"
    wait_until(lambda: any("10/h" in detail for detail, _ in limited(delivery)), "the limit is named")
    assert all("slow.example" in detail for detail, _ in limited(delivery))


def test_another_file_is_in_force_without_a_restart_for_what_waits_as_well(delivery: Harbour) -> None:
    shape(delivery, FREE + SLOW)
    delivery.start()
    commands = publish(delivery, 100, "slow.example")
    wait_until(lambda: len(limited(delivery)) >= 90, "commands that wait for the limit")

    shape(delivery, FREE)

    wait_until(lambda: in_state(delivery, commands, LedgerState.ACCEPTED) == 100, "all mails")


def test_a_block_moves_mails_to_another_source(delivery: Harbour, tmp_path: Path) -> None:
    with ProviderSink(free_port(), tmp_path / "blocking", BLOCK) as blocking:
        sources = f'[source.a]\nrelays = ["127.0.0.1:{blocking.port}"]\n[source.b]\n'
        shape(delivery, FREE + BLOCKED + sources + '[pool.all]\nsources = ["a", "b"]\n')
        delivery.start()
        commands = publish(delivery, 60, "fast.example")

        wait_until(lambda: in_state(delivery, commands, LedgerState.ACCEPTED) == 60, "all mails")

    assert len(list(delivery.sink.messages())) == 60


def test_a_domain_that_takes_no_mail_is_the_answer_to_its_mails(delivery: Harbour) -> None:
    shape(delivery, FREE)
    delivery.settings["route"] = "direct"
    delivery.start()
    [command] = publish(delivery, 1, "none.example")

    delivery.wait_for(command, LedgerState.REFUSED)

    assert delivery.rows("SELECT reason, attempt FROM ledger WHERE command_id = %s", command.id) == [
        (ReplyClass.NO_MAIL, 1)
    ]


def test_a_domain_that_is_not_found_waits_without_an_attempt(delivery: Harbour) -> None:
    shape(delivery, FREE)
    delivery.settings["dns_servers"] = [f"127.0.0.1:{free_port()}"]
    delivery.start()
    publish(delivery, 3, "fast.example")

    wait_until(lambda: len(limited(delivery)) == 3, "commands that wait for the lookup")

    assert {(detail.split(";")[0], attempt) for detail, attempt in limited(delivery)} == {("lookup fast.example", 0)}
