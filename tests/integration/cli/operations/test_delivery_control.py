"""`ebbtide senders status`, `set`, `retry-now`, `drain` and `explain command` where a shaping file is in force."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import Done, ebbtide
from drivers.dns_server import answering
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, harbour, have_topics, wait_until
from drivers.shaped_delivery import in_state, publish, shape, zones_of

from cli.operations.control import switches
from schemas.brands import Brand, DkimName, SenderName
from schemas.commands import SendCommand
from schemas.rules import CURRENT, Manifest
from schemas.topics import RULES
from schemas.vocabulary import LedgerState

pytestmark = pytest.mark.servers

WHO = ("--reason", "a test", "--by", "ada")
PROGRAM = (sys.executable, "-m", "cli.main", "run", "senders", "--slot", "0")
SHAPING = """
[default]
max_message_rate = "1000/s"
max_connection_rate = "1000/s"
retry_interval = "1h"
[provider.slow]
match = [{mx_suffix = ".slow.example"}]
max_message_rate = "20/m"
[provider.big]
match = [{mx_suffix = ".big.example"}]
[source.one]
relays = ["127.0.0.1:PORT"]
"""


@pytest.fixture(scope="module")
def worker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """A worker with pages, as `ebbtide run senders` runs it, and the DNS of three domains."""
    database_url, directory = servers.create_database(), tmp_path_factory.mktemp("delivery")
    have_topics(servers.kafka)
    zones = zones_of("slow.example", "big.example", "other.example")
    with answering(zones):
        settings: dict[str, Any] = {"dns_servers": [f"127.0.0.1:{zones.port}"], "allow_private_mx": True}
        for made in harbour(servers.kafka, database_url, directory, shaping=directory / "shaping.toml", **settings):
            shape(made, SHAPING.replace("PORT", str(made.sink.port)))
            made.start_process(PROGRAM)
            yield made
    servers.drop_database(database_url)


@pytest.fixture
def delivery(worker: Harbour) -> Iterator[Harbour]:
    """The same worker for each test, under no switch of another one."""
    yield worker
    undo(worker)
    wait_until(lambda: not (status(worker)["lanes"] or {}).get("actions"), "no switch is in force")


def undo(delivery: Harbour) -> None:
    """End what a test that failed left in force: other tests have the same broker."""
    for each in switches(delivery.kafka):
        scope = each.scope.removeprefix("delivery/")
        if scope == each.scope or not each.in_force(datetime.now(UTC)):
            continue
        for key in each.values:
            senders(delivery, "unset", key, f"--{scope.replace('/', '=', 1)}", "--by", "ada")
        if each.paused:
            senders(delivery, "resume", scope, "--by", "ada")


def senders(delivery: Harbour, *arguments: object, status: int | None = 0) -> Done:
    done = ebbtide("senders", *arguments, **delivery.variables)
    assert status is None or done.returncode == status, done.stderr + done.stdout
    return done


def status(delivery: Harbour) -> dict[str, Any]:
    return dict(json.loads(senders(delivery, "status", "--json", status=None).stdout))


def lane(delivery: Harbour, site: str) -> dict[str, Any]:
    """What `status` says of the lane to a site; empty if there is none."""
    lanes = (status(delivery)["lanes"] or {}).get("lanes", [])
    return next((each for each in lanes if each["site"] == site), {})


def bound(found: dict[str, Any]) -> dict[str, Any]:
    """The lane if something binds it until a time; empty otherwise."""
    return found if found and (found["binding"] or {}).get("until") else {}


def limits(delivery: Harbour, words: str) -> list[str]:
    """What `status` says of commands that wait for a limit in the ledger, as far as it begins so."""
    return [each["detail"] for each in status(delivery)["queue"]["limited"] if each["detail"].startswith(words)]


def waiting(delivery: Harbour, commands: Sequence[SendCommand], reason: str) -> int:
    """How many of these commands wait for this reason."""
    waits = "SELECT count(*) FROM ledger WHERE command_id = ANY(%s) AND reason = %s AND next_attempt_at > now()"
    return int(delivery.rows(waits, [each.id for each in commands], reason)[0][0])


def test_status_shows_lanes_what_binds_them_the_queue_by_age_sources_and_problems(delivery: Harbour) -> None:
    slow = publish(delivery, 150, "slow.example")
    publish(delivery, 5, "other.example")
    wait_until(lambda: waiting(delivery, slow, "limited") >= 50, "commands that wait for the limit")

    of_lane = wait_until(lambda: bound(lane(delivery, "mx.slow.example")), "the lane says until when")
    found = status(delivery)
    shown = senders(delivery, "status").stdout

    assert (of_lane["source"], of_lane["provider"]) == ("one", "slow")
    assert of_lane["limits"]["mails one mx.slow.example of slow"]["rate"] == "20/m"
    binding = of_lane["binding"]
    assert (binding["kind"], binding["limit"]) == ("message_rate", "20/m")
    assert binding["set_by"] == "provider.slow.max_message_rate"
    assert found["queue"]["waiting"]["limited"] >= 50
    assert any(each["detail"].startswith("behind one mx.slow.example of slow; ") for each in found["queue"]["limited"])
    assert sum(found["queue"]["due"].values()) <= 150
    [source] = found["lanes"]["sources"]
    assert (source["source"], source["state"]) == ("one", "in_use")
    problems = [problem.split(";")[0] for problem in found["lanes"]["problems"]]
    of_others = ("endpoint ", "mails of brand ")  # on the topic of rules
    of_lanes = [problem for problem in problems if not problem.startswith(of_others)]
    assert of_lanes == ["DANE is off: the resolver sets no AD bit"]
    assert "waits for its time: limited " in shown
    assert "one mx.slow.example" in shown
    assert "problem  DANE is off" in shown
    waits = wait_until(lambda: waits_in_memory(delivery), "a mail in the memory of the worker is explained")
    assert waits.startswith("on its lane: message_rate mails one mx.slow.example of slow; spent of 20/m; until ")


def test_status_lists_a_brand_whose_key_delivery_does_not_have(delivery: Harbour) -> None:
    now, sender = datetime.now(UTC), SenderName(address="mail@shop.example")
    brand = Brand(name="keyless", sender=sender, dkim=DkimName(domain="shop.example", selector="spring"))
    manifest = Manifest(number=int(now.timestamp()), texts=[], applied_at=now, brands=[brand])
    delivery.publish(RULES.name, CURRENT, manifest)
    lacking = "mails of brand keyless wait: no key for spring._domainkey.shop.example (EBBTIDE_DKIM_KEYS)"

    wait_until(lambda: lacking in (status(delivery)["lanes"] or {}).get("problems", ()), "the brand is a problem")

    assert f"problem  {lacking}" in senders(delivery, "status").stdout


def waits_in_memory(delivery: Harbour) -> str:
    """What `explain` says of a due command whose lane holds it; empty if it began meanwhile."""
    due = "SELECT command_id FROM ledger WHERE state = 'admitted' AND next_attempt_at <= now()"
    for (command,) in delivery.rows(f"{due} ORDER BY next_attempt_at DESC, command_id LIMIT 1"):
        life = json.loads(ebbtide("explain", "command", command, "--json", **delivery.variables).stdout)
        return str(life["waits"]) if (life["binding"] or {}).get("until") else ""
    return ""


def test_a_key_is_set_for_a_while_shown_explained_and_ended(delivery: Harbour) -> None:
    said = senders(delivery, "set", "max_message_rate=6/h", "--provider", "big", "--for", "2h", *WHO).stdout
    assert said.startswith("max_message_rate = 6/h for provider/big until ")
    assert "in effect on every running delivery worker within 2 s" in said
    wait_until(lambda: status(delivery)["lanes"]["actions"], "the worker obeys")

    held = publish(delivery, 30, "big.example")
    free = publish(delivery, 30, "other.example")
    wait_until(lambda: in_state(delivery, free, LedgerState.ACCEPTED) == 30, "the mails of another provider")
    wait_until(
        lambda: limits(delivery, "message_rate mails one mx.big.example of big; spent of 6/h; until "), "they wait"
    )
    assert in_state(delivery, held, LedgerState.ACCEPTED) <= 1

    [switch] = status(delivery)["switches"]
    assert (switch["scope"], switch["values"], switch["by"], switch["why"]) == (
        "delivery/provider/big",
        {"max_message_rate": "6/h"},
        "ada",
        "a test",
    )
    shown = senders(delivery, "status").stdout
    assert "set  " in shown
    assert "max_message_rate = 6/h" in shown
    command = next(each for each in held if delivery.state(each.id) == LedgerState.ADMITTED)
    explained = ebbtide("explain", "command", command.id, **delivery.variables).stdout
    assert "6/h" in explained
    assert "delivery/provider/big (switch " in explained
    assert "until " in explained

    assert "is over" in senders(delivery, "unset", "max_message_rate", "--provider", "big", "--by", "ada").stdout
    wait_until(lambda: in_state(delivery, held, LedgerState.ACCEPTED) == 30, "all mails")
    assert status(delivery)["switches"] == []
    assert (
        "is not set for provider/big; set now: nothing"
        in senders(delivery, "unset", "max_message_rate", "--provider", "big", "--by", "ada", status=2).stderr
    )


def test_a_setting_ends_by_itself(delivery: Harbour) -> None:
    before = publish(delivery, 3, "other.example")
    wait_until(lambda: in_state(delivery, before, LedgerState.ACCEPTED) == 3, "the first mails")
    senders(delivery, "set", "max_message_rate=1/h", "--site", "mx.other.example", "--for", "8s", *WHO)
    wait_until(lambda: status(delivery)["lanes"]["actions"], "the worker obeys")
    commands = publish(delivery, 20, "other.example")
    wait_until(lambda: limits(delivery, "message_rate mails one mx.other.example; spent of 1/h; until "), "they wait")
    assert in_state(delivery, commands, LedgerState.ACCEPTED) <= 1

    wait_until(lambda: in_state(delivery, commands, LedgerState.ACCEPTED) == 20, "all mails")

    assert status(delivery)["switches"] == []


def test_a_key_of_sessions_holds_for_open_connections_too(delivery: Harbour) -> None:
    before = publish(delivery, 3, "other.example")
    wait_until(lambda: in_state(delivery, before, LedgerState.ACCEPTED) == 3, "the first mails")
    done = senders(delivery, "set", "tls=required", "--site", "mx.other.example", "--for", "1h", *WHO)
    assert "no mail has gone" not in done.stderr
    wait_until(lambda: status(delivery)["lanes"]["actions"], "the worker obeys")

    commands = publish(delivery, 3, "other.example")
    wait_until(lambda: waiting(delivery, commands, "limited") == 3, "mails wait, as the server offers no TLS")

    assert in_state(delivery, commands, LedgerState.ACCEPTED) == 0
    misspelt = senders(delivery, "retry-now", "site/mx.ohter.example", "--by", "ada").stderr
    assert "no mail has gone to a site 'mx.ohter.example' yet; did you mean `mx.other.example`?" in misspelt
    senders(delivery, "unset", "tls", "--site", "mx.other.example", "--by", "ada")
    wait_until(lambda: in_state(delivery, commands, LedgerState.ACCEPTED) == 3, "all mails")


def test_deferred_mails_of_a_provider_are_retried_and_explained_with_their_way_and_rule(delivery: Harbour) -> None:
    [big] = publish(delivery, 1, "big.example", "451-1+")
    [other] = publish(delivery, 1, "other.example", "451-1+")
    for command in (big, other):
        delivery.wait_for(command, LedgerState.DEFERRED)

    life = json.loads(
        ebbtide("explain", "command", f"<{big.id}@harbour.example>", "--json", **delivery.variables).stdout
    )
    [attempt] = life["attempts"]
    assert (attempt["path"]["source"], attempt["path"]["provider"]) == ("one", "big")
    assert attempt["reply"]["code"] == 451
    assert attempt["rule"]
    shown = ebbtide("explain", "command", big.id, **delivery.variables).stdout
    assert "attempt 1 from one (127.0.0.1) to 127.0.0.1 (127.0.0.1), site mx.big.example, provider big, no TLS" in shown
    assert f"by the rule {attempt['rule']}" in shown
    assert "waits until " in shown

    senders(delivery, "retry-now", "provider/big", "--by", "ada")
    delivery.wait_for(big, LedgerState.ACCEPTED)
    assert delivery.state(other.id) == LedgerState.DEFERRED
    senders(delivery, "retry-now", "domain/other.example", "--by", "ada")
    delivery.wait_for(other, LedgerState.ACCEPTED)


def test_the_next_conversations_with_a_domain_are_shown_without_addresses_and_content(delivery: Harbour) -> None:
    [before] = publish(delivery, 1, "other.example", "before")
    delivery.wait_for(before, LedgerState.ACCEPTED)
    with ThreadPoolExecutor(1) as executor:
        watching = executor.submit(trace, delivery, "other.example", "--count", "2", "--for", "60s")
        wait_until(lambda: traces(delivery), "somebody watches")
        publish(delivery, 1, "big.example", "elsewhere")
        while not watching.done():  # a worker takes up the switch soon, and some mails go before that
            [command] = publish(delivery, 1, "other.example", "secret.name")
            delivery.wait_for(command, LedgerState.ACCEPTED)
        done = watching.result()

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(line.get("end", False) for line in lines) == 2
    said = [line["line"] for line in lines if line["conversation"] == lines[0]["conversation"]]
    assert said[0] == "* other.example by the lane one mx.other.example, trigger hello"
    assert "> RCPT TO:<***@other.example>" in said
    assert any(line.startswith("> MAIL FROM:<***@harbour.example>") for line in said)
    assert any(re.fullmatch(r"> \([\d,]+ bytes of the mail, not shown\)", line) for line in said)
    assert any(line.startswith("< 250") for line in said)
    assert said[-1] == "* accepted: taken"
    assert "secret" not in done.stdout
    assert "big.example" not in done.stdout
    assert "Subject" not in done.stdout
    assert traces(delivery) == [], "it ends by itself"


def test_a_trace_without_a_conversation_says_where_to_look(delivery: Harbour) -> None:
    done = trace(delivery, "other.example", "--for", "1s")

    assert done.returncode == 1
    assert "no conversation with other.example ended within 1s; `ebbtide senders status` shows" in done.stderr


def trace(delivery: Harbour, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, because the tests' own goes on."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "senders", "trace", *arguments, "--json"],
        env=os.environ | delivery.variables,
        capture_output=True,
        text=True,
        check=False,
    )


def traces(delivery: Harbour) -> list[Any]:
    """Who watches now."""
    now = datetime.now(UTC)
    return [each for each in switches(delivery.kafka) if each.trace and each.in_force(now)]


def test_a_provider_that_is_drained_takes_nothing_that_came_later(delivery: Harbour) -> None:
    senders(delivery, "drain", "provider/big", *WHO)
    wait_until(lambda: status(delivery)["switches"], "it is drained")
    later = publish(delivery, 5, "big.example")
    others = publish(delivery, 5, "other.example")
    wait_until(lambda: in_state(delivery, others, LedgerState.ACCEPTED) == 5, "the mails of another provider")
    wait_until(lambda: waiting(delivery, later, "paused") == 5, "what came later waits")

    assert in_state(delivery, later, LedgerState.ACCEPTED) == 0
    senders(delivery, "resume", "provider/big", "--by", "ada")
    wait_until(lambda: in_state(delivery, later, LedgerState.ACCEPTED) == 5, "all mails")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("max_message_rate", "--provider", "big"), "write KEY=VALUE"),
        (
            ("max_mesage_rate=1/s", "--provider", "big"),
            "unknown key `max_mesage_rate`; did you mean `max_message_rate`?",
        ),
        (("max_message_rate=fast", "--provider", "big"), '`max_message_rate`: not a rate; write "100/s"'),
        (("connection_limit=0", "--site", "mx.example"), "`connection_limit`: less than 1"),
        (("connection_limit=2", "--trigger", "hello"), "a trigger takes only `max_message_rate`"),
        (("provider_connection_limit=2", "--source", "one"), "a source has no such key; set it for a provider"),
        (("tls=required",), "name exactly one of --provider, --site, --source, --trigger, --purpose"),
        (("tls=required", "--provider", "a", "--source", "b"), "name exactly one of"),
        (("tls=required", "--provider", "bog"), "no provider is called 'bog'; did you mean `big`?"),
        (("tls=required", "--provider", "big", "--for", "soon"), "not a duration"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_write(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "shaping.toml").write_text(SHAPING.replace("PORT", "25"))
    lasts = () if "--for" in arguments else ("--for", "1h")

    done = ebbtide("senders", "set", *arguments, *lasts, *WHO, EBBTIDE_SHAPING=str(tmp_path / "shaping.toml"))

    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
