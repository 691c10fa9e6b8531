"""A provider blocks one of our sources, then all of them: mail goes another way or waits, and nobody is suppressed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, wait_until
from drivers.shaped_delivery import FREE, in_state, kept, limited, publish, receipts, shape, shaped, states, zones_of

from schemas.commands import SendCommand
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

MAILS = 40
CONNECTIONS = 2
PROBE_AFTER_S = 2
AT_RCPT, AT_DOT, AT_MAIL = "rcpt.example", "dot.example", "mail.example"
BLOCKED, FREE_SOURCE = "127.0.0.2", "127.0.0.3"
BLOCKED_AT_MAIL, FREE_AT_MAIL = "127.0.0.4", "127.0.0.5"
SOURCES = f"""connection_limit = {CONNECTIONS}
[source.a]
address = "{BLOCKED}"
[source.b]
address = "{FREE_SOURCE}"
[source.c]
address = "{BLOCKED_AT_MAIL}"
[source.d]
address = "{FREE_AT_MAIL}"
[pool.bulk]
sources = ["a", "b"]
purposes = ["marketing"]
[pool.rest]
sources = ["c", "d"]
[[default.automation]]
pattern = ['(?i)blocked']
action = "suspend"
duration = "{PROBE_AFTER_S}s"
"""


def blocks(over: Path, domain: str, at: str, text: str, *sources: str) -> str:
    """A provider that refuses these sources until there is a file `over`."""
    listed = ", ".join(f'"{source}"' for source in sources)
    return f"""
[[provider]]
name = "{domain}"
recipients = ["*{"" if at == "mail" else "@" + domain}"]
[[provider.replies]]
at = "{at}"
text = "{text}"
sources = [{listed}]
until_file = "{over}"
"""


def one_blocked(over: Path) -> str:
    """Three domains that each refuse one source."""
    at_dot = f"554 Service unavailable; Client host [{BLOCKED}] blocked using bl.example"
    at_mail = f"550 Mail from {BLOCKED_AT_MAIL} is BLOCKED, see our policy"
    return (
        blocks(over, AT_RCPT, "rcpt", "550 5.7.1 Mail from your network is blocked by our policy", BLOCKED)
        + blocks(over, AT_DOT, "dot", at_dot, BLOCKED)
        + blocks(over, AT_MAIL, "mail", at_mail, BLOCKED_AT_MAIL)
    )


def send_to(delivery: Harbour, domain: str) -> list[SendCommand]:
    purpose = "transactional" if domain == AT_MAIL else "marketing"
    return publish(delivery, MAILS, domain, purpose=purpose)


def ways(delivery: Harbour, commands: Sequence[SendCommand]) -> Counter[tuple[str, str]]:
    """How many mails the provider took, by domain and source."""
    return Counter((each.rcpt_to.partition("@")[2], each.source) for each in kept(delivery, commands))


def all_accepted(delivery: Harbour, commands: list[SendCommand]) -> bool:
    return in_state(delivery, commands, LedgerState.ACCEPTED) == len(commands)


def require_once_each(delivery: Harbour, commands: Sequence[SendCommand]) -> None:
    """Each mail was taken once, and nobody is suppressed."""
    assert Counter(each.command for each in kept(delivery, commands)) == {command.id: 1 for command in commands}
    assert {state for state, _ in states(delivery, commands)} == {LedgerState.ACCEPTED}
    assert delivery.rows("SELECT * FROM suppressions") == []
    assert delivery.rows("SELECT * FROM pending_suppressions") == []


def test_a_blocked_source_hands_its_mails_to_another_and_comes_back_after_a_probe(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    free = {AT_RCPT: FREE_SOURCE, AT_DOT: FREE_SOURCE, AT_MAIL: FREE_AT_MAIL}
    back = {(AT_RCPT, BLOCKED), (AT_DOT, BLOCKED), (AT_MAIL, BLOCKED_AT_MAIL)}
    over = tmp_path / "over"
    with shaped(servers, database_url, tmp_path, zones_of(*free), one_blocked(over)) as delivery:
        shape(delivery, FREE + SOURCES)
        delivery.sink.start()
        delivery.start_process()
        commands = [command for domain in free for command in send_to(delivery, domain)]
        wait_until(lambda: all_accepted(delivery, commands), "all mails while the block lasts")
        while_blocked = ways(delivery, commands)
        over.touch()

        def is_back() -> bool:
            commands.extend(command for domain in free for command in send_to(delivery, domain))
            wait_until(lambda: all_accepted(delivery, commands), "mails after the block")
            return back <= ways(delivery, commands).keys()

        wait_until(is_back, "mails by each source that was blocked")
        assert while_blocked == dict.fromkeys(free.items(), MAILS)
        require_once_each(delivery, commands)
        refused = [each.at for each in receipts(delivery, "rcpt") if each.rcpt_to.endswith(AT_RCPT)]
        assert 0 < len(refused) <= CONNECTIONS + (refused[-1] - refused[0]) / PROBE_AFTER_S, "after a block, probes"


def test_mail_waits_while_all_sources_are_blocked_and_goes_out_when_the_block_ends(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    over, reply = tmp_path / "over", "554 5.7.1 Message blocked, bad reputation"
    script = blocks(over, AT_RCPT, "rcpt", reply, BLOCKED, FREE_SOURCE)
    with shaped(servers, database_url, tmp_path, zones_of(AT_RCPT), script) as delivery:
        shape(delivery, FREE + SOURCES.replace(f"{PROBE_AFTER_S}s", "12s"))
        delivery.sink.start()
        delivery.start_process()
        commands = send_to(delivery, AT_RCPT)
        wait_until(lambda: any(said_blocked(each) for each, _ in limited(delivery)), "the ledger says why")
        refused = len(receipts(delivery, "rcpt"))
        told = delivery.command("explain", "command", waiting_command(delivery))
        over.touch()
        wait_until(lambda: all_accepted(delivery, commands), "all mails after the block")

        require_once_each(delivery, commands)
        assert refused <= 2 * CONNECTIONS
        assert told.returncode == 0, told.stderr
        assert said_blocked(told.stdout)


def waiting_command(delivery: Harbour) -> str:
    rows = delivery.rows("SELECT command_id, detail FROM ledger WHERE reason = 'limited'")
    return next(str(command) for command, detail in rows if said_blocked(detail))


def said_blocked(detail: str) -> bool:
    """Whether a text names what binds, the provider's words, and until when."""
    return "suspended" in detail and "bad reputation" in detail and "until" in detail
