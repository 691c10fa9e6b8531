"""Delivery by a shaping file, as tests drive it: its DNS, its file, its commands, and what the ledger says of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.dns_server import Zones, answering
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, have_topics
from drivers.warm_sinks import WarmProviderSink

from infra.local.sink_receipts import Receipt, read_receipts
from schemas.commands import SendCommand
from schemas.profiles import Consent
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

FREE = '[default]\nmax_message_rate = "1000/s"\nmax_connection_rate = "1000/s"\nretry_interval = "1s"\n'
"""Limits that limit nothing, and retries soon; more keys of `[default]` may follow."""


def zones_of(*domains: str, host: str = "127.0.0.1", **fields: Any) -> Zones:
    """The root, and domains each of which has one mail server, at this address."""
    zones = Zones(**fields)
    zones.put(".", "NS", "a.root-servers.net.")
    for domain in domains:
        zones.put(domain, "MX", f"10 mx.{domain}.")
        zones.host(f"mx.{domain}", host)
    return zones


@contextmanager
def shaped(
    servers: RealServers, database_url: str, directory: Path, zones: Zones, script: str, **settings: Any
) -> Iterator[Harbour]:
    """A harbour whose sink is one of providers, which the test starts; always stopped at the end."""
    have_topics(servers.kafka)
    with answering(zones):
        usual = {
            "shaping": directory / "shaping.toml",
            "dns_servers": [f"127.0.0.1:{zones.port}"],
            "allow_private_mx": True,
        }
        made = Harbour(servers.kafka, database_url, directory, **usual | settings)
        made.sink = WarmProviderSink(made.settings["smtp_port"], directory / "sink", script)
        try:
            yield made
        finally:
            made.close()


def shape(delivery: Harbour, text: str) -> None:
    """Put a shaping file in force."""
    path = delivery.directory / "shaping.toml"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def publish(
    delivery: Harbour,
    count: int,
    domain: str,
    local_part: str = "user",
    consent: dict[str, Consent] | None = None,
    **changes: Any,
) -> list[SendCommand]:
    """So many commands to ten users at a domain at most, on their topic before this returns."""
    template = delivery.publish_template()
    fields = {} if consent is None else {"consent": consent}
    users = [
        delivery.publish_user(address=f"{local_part}{number}@{domain}", **fields) for number in range(min(count, 10))
    ]
    commands = [a_command(users[number % len(users)], template, **changes) for number in range(count)]
    for command in commands:
        delivery.publish_soon(COMMANDS.name, command.user_id, command)
    delivery.flush()
    return commands


def in_state(delivery: Harbour, commands: list[SendCommand], state: LedgerState) -> int:
    """How many of these commands are in a state."""
    ids = [command.id for command in commands]
    query = "SELECT count(*) FROM ledger WHERE command_id = ANY(%s) AND state = %s"
    return int(delivery.rows(query, ids, state.value)[0][0])


def receipts(delivery: Harbour, what: str) -> list[Receipt]:
    """What the sink of providers saw of a kind so far."""
    return [receipt for receipt in read_receipts(delivery.sink.directory) if receipt.what == what]


def kept(delivery: Harbour, commands: Sequence[SendCommand]) -> list[Receipt]:
    """The mails of these commands that the sink of providers took so far."""
    ids = {command.id for command in commands}
    return [receipt for receipt in receipts(delivery, "mail") if receipt.kept and receipt.command in ids]


def states(delivery: Harbour, commands: Sequence[SendCommand]) -> set[tuple[str, int]]:
    """The states and attempts of these commands."""
    ids = [command.id for command in commands]
    return set(delivery.rows("SELECT state, attempt FROM ledger WHERE command_id = ANY(%s)", ids))


def limited(delivery: Harbour) -> list[tuple[str, int]]:
    """What the waiting commands of a limit say, and their attempts."""
    return delivery.rows("SELECT detail, attempt FROM ledger WHERE reason = 'limited' AND next_attempt_at > now()")
