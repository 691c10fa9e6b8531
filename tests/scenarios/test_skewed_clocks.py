"""A worker whose host's clock is ten minutes ahead or behind: nothing is early, late, expired or in doubt by that."""

import signal
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from drivers.dns_server import Zones
from drivers.real_servers import RealServers
from drivers.running_senders import PROGRAM, Harbour, wait_until
from drivers.shaped_delivery import in_state, kept, publish, receipts, shaped
from drivers.skewed_clock import skewed_clock

from schemas.commands import SendCommand
from schemas.profiles import Consent
from schemas.vocabulary import LedgerState, SuppressionReason

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

SKEW_S = 600
MAILS = 10
RETRY_S = 2.0
EXPIRES = timedelta(minutes=5)
"""Sooner than the skew."""
RUN = uuid.uuid4().hex[:8]
ONCE, LATER, FINE = f"once.{RUN}.example", f"later.{RUN}.example", f"fine.{RUN}.example"
"""Commands that an interrupted run left on the topic go to other domains."""


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    """Each mail to one domain is deferred once, and those to another until there is a file `over`."""
    script = "".join(
        f"""
[[provider]]
name = "{domain}"
recipients = ["*@{domain}"]
[[provider.replies]]
at = "rcpt"
text = "451 4.3.2 not now"
{condition}
"""
        for domain, condition in {ONCE: "times = 1", LATER: f'until_file = "{tmp_path / "over"}"'}.items()
    )
    settings = {"shaping": None, "retry_first_s": RETRY_S, "retry_longest_s": RETRY_S, "retry_jitter": 0.0}
    with shaped(servers, database_url, tmp_path, Zones(), script, **settings) as made:
        made.sink.start()
        yield made


def send(delivery: Harbour, domain: str) -> list[SendCommand]:
    return publish(delivery, MAILS, domain, expires_at=datetime.now(UTC) + EXPIRES)


def wait_for_all(delivery: Harbour, commands: list[SendCommand], state: LedgerState) -> None:
    wait_until(lambda: in_state(delivery, commands, state) == len(commands), f"all {state}")


def gaps(delivery: Harbour, domain: str) -> list[float]:
    """The times between two attempts at each mail to a domain, as the receiver saw them."""
    seen = defaultdict[str, list[float]](list)
    seen_at = sorted([*receipts(delivery, "rcpt"), *receipts(delivery, "mail")], key=lambda receipt: receipt.at)
    for each in seen_at:
        if each.rcpt_to.endswith(domain):
            seen[each.rcpt_to].append(each.at)
    return [later - before for times in seen.values() for before, later in pairwise(times)]


@pytest.mark.parametrize("ahead_s", [SKEW_S, -SKEW_S])
def test_a_worker_with_a_wrong_clock_sends_as_one_with_the_right_clock(
    delivery: Harbour, ahead_s: int, tmp_path: Path
) -> None:
    wrong = skewed_clock(tmp_path, ahead_s)
    delivery.start_process(PROGRAM, **wrong)
    once = send(delivery, ONCE)
    wait_for_all(delivery, once, LedgerState.ACCEPTED)
    later = send(delivery, LATER)
    wait_for_all(delivery, later, LedgerState.DEFERRED)
    delivery.end_process(signal.SIGTERM)
    delivery.start()  # a worker with the right clock takes over what the other one has written
    (tmp_path / "over").touch()
    wait_for_all(delivery, later, LedgerState.ACCEPTED)

    delivery.start_process(PROGRAM, **wrong)
    no = {"marketing": Consent(granted=False, time=datetime.now(UTC))}
    unwanted = publish(delivery, MAILS, FINE, consent=no)
    fine = send(delivery, FINE)
    wait_for_all(delivery, fine, LedgerState.ACCEPTED)
    wait_for_all(delivery, unwanted, LedgerState.SUPPRESSED)
    delivery.stop()

    assert min(gaps(delivery, ONCE) + gaps(delivery, LATER)) >= RETRY_S * 0.9
    taken = sorted(each.command for each in kept(delivery, once + later + fine))
    assert taken == sorted(command.id for command in once + later + fine)
    assert kept(delivery, unwanted) == []
    ids = [command.id for command in unwanted]
    reasons = delivery.rows("SELECT DISTINCT reason, attempt FROM ledger WHERE command_id = ANY(%s)", ids)
    assert reasons == [(SuppressionReason.NO_CONSENT, 0)]
