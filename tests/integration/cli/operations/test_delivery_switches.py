"""`ebbtide senders pause`, `drain`, `resume` and `retry-now` on a running delivery, and where they are listed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import Done, ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until

from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = pytest.mark.servers

WHO = ("--reason", "a test", "--by", "ada")
RETRIED = "write all, trigger/NAME, purpose/NAME, domain/NAME, provider/NAME, site/NAME or source/NAME"


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    for running in harbour(servers.kafka, database_url, tmp_path, retry_first_s=3600.0, retry_longest_s=3600.0):
        running.start_process()
        yield running
        for scope in ("all", "domain/example.net"):
            running.command("senders", "resume", scope, "--by", "ada")


def send(delivery: Harbour, local_part: str = "ann", **changes: Any) -> SendCommand:
    command = a_command(delivery.publish_user(local_part), delivery.publish_template(), **changes)
    delivery.publish(COMMANDS.name, command.user_id, command)
    return command


def senders(delivery: Harbour, *arguments: str, status: int = 0) -> Done:
    done = delivery.command("senders", *arguments)
    assert done.returncode == status, done.stderr
    return done


def waits_for(delivery: Harbour, command: SendCommand) -> str:
    query = "SELECT detail FROM ledger WHERE command_id = %s AND reason = 'paused'"
    return str(wait_until(lambda: delivery.rows(query, command.id), "it is held")[0][0])


def test_a_domain_is_held_listed_with_who_and_why_and_sent_after_the_resume(delivery: Harbour) -> None:
    said = senders(delivery, "pause", "domain/Example.NET", "--for", "2h", *WHO).stdout
    assert said.startswith("domain/example.net in delivery is paused until ")
    assert "in effect on every running delivery worker within 2 s" in said
    held = send(delivery)
    assert waits_for(delivery, held).startswith("delivery/domain/example.net (switch ")

    [switch] = json.loads(senders(delivery, "status", "--json", status=1).stdout)["switches"]
    assert (switch["scope"], switch["by"], switch["why"]) == ("delivery/domain/example.net", "ada", "a test")
    shown = senders(delivery, "status", status=1).stdout
    assert "delivery/domain/example.net  until " in shown
    assert "by ada  a test" in shown
    assert "by ada  a test" in delivery.command("switches").stdout

    senders(delivery, "resume", "domain/example.net", "--by", "ada")
    delivery.wait_for(held, LedgerState.ACCEPTED)
    assert json.loads(senders(delivery, "status", "--json", status=1).stdout)["switches"] == []


def test_a_drain_holds_what_comes_later_and_a_discard_ends_it(delivery: Harbour) -> None:
    senders(delivery, "drain", "all", *WHO)
    later = send(delivery)
    waits_for(delivery, later)
    senders(delivery, "pause", "all", "--discard", *WHO)
    delivery.wait_for(later, LedgerState.SUPPRESSED)


def test_a_retry_now_makes_deferred_mails_due_and_lifts_no_pause(delivery: Harbour) -> None:
    deferred = send(delivery, "451-1", purpose="transactional")
    delivery.wait_for(deferred, LedgerState.DEFERRED)
    other = send(delivery, "451-1")
    delivery.wait_for(other, LedgerState.DEFERRED)
    assert "is retried: number" in senders(delivery, "retry-now", "all", "--by", "ada").stdout
    delivery.wait_for(deferred, LedgerState.ACCEPTED)
    delivery.wait_for(other, LedgerState.ACCEPTED)


@pytest.fixture
def shaping(servers: RealServers, tmp_path: Path) -> dict[str, str]:
    """The variables of a command that knows the shaping file."""
    have_topics(servers.kafka)
    file = tmp_path / "shaping.toml"
    file.write_text(
        '[provider.yahoo]\nmatch = [{mx_suffix = ".yahoodns.net"}]\n[source.one]\nrelays = ["127.0.0.1:1"]\n'
    )
    return {"EBBTIDE_KAFKA": servers.kafka, "EBBTIDE_SHAPING": str(file)}


@pytest.mark.parametrize("command", ["pause", "drain", "resume", "retry-now"])
@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("provider/yaho", "no provider is called 'yaho'; did you mean `yahoo`?"),
        ("source/two", "no source is called 'two'; known here: one"),
    ],
)
def test_a_name_that_the_shaping_file_does_not_have_is_refused(
    shaping: dict[str, str], command: str, scope: str, said: str
) -> None:
    done = ebbtide("senders", command, scope, *WHO, **shaping)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_what_is_paused_can_be_resumed_after_the_shaping_file_lost_it(shaping: dict[str, str]) -> None:
    ebbtide("senders", "pause", "provider/yahoo", *WHO, **shaping)
    Path(shaping["EBBTIDE_SHAPING"]).write_text("")
    done = ebbtide("senders", "resume", "provider/yahoo", "--by", "ada", **shaping)
    assert done.returncode == 0, done.stderr
    assert "provider/yahoo in delivery is resumed" in done.stdout


def test_a_shaping_file_with_a_mistake_keeps_nobody_from_a_pause(shaping: dict[str, str]) -> None:
    Path(shaping["EBBTIDE_SHAPING"]).write_text("[provider")
    done = ebbtide("senders", "pause", "provider/broken", *WHO, **shaping)
    assert done.returncode == 0, done.stderr
    assert "so nobody knows whether it has provider/broken" in done.stderr
    ebbtide("senders", "resume", "provider/broken", "--by", "ada", **shaping)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "server/google", *WHO), "is not a scope of delivery; write all, trigger/NAME"),
        (("pause", "provider/google", "--discard", *WHO), "those of a source, site or provider can only be held"),
        (("retry-now", "brand/shop", "--by", "ada"), f"'brand/shop' is not a scope that can be retried; {RETRIED}"),
        (("retry-now", "server/google", "--by", "ada"), RETRIED),
        (("pause", "domain/not a domain", *WHO), "is not a scope of delivery"),
        (("pause", "all", "--for", "soon", *WHO), "not a duration"),
        (("pause", "all", "--reason", " ", "--by", "ada"), "must not be empty"),
    ],
)
def test_a_wrong_argument_is_named_with_what_to_write(servers: RealServers, arguments: Any, said: str) -> None:
    have_topics(servers.kafka)
    done = ebbtide("senders", *arguments, EBBTIDE_KAFKA=servers.kafka)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
