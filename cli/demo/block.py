"""The act of the block: a provider refuses mails from one of our two addresses, delivery turns to the other one, tries
again with single mails, and uses the address as before.

Orders at this provider go on meanwhile. Each step waits until the one before was seen in the sink's receipts.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import psycopg

from cli.demo.block_receipts import Blocking, BlockPhases, block_phases, check_block
from cli.demo.books import Check
from cli.demo.crowd import NORTHMAIL, order
from cli.environment import SENDERS, Environment
from cli.operations import lane_tables, worker_status
from cli.rules import command_life
from cli.step_printer import StepPrinter
from infra.kafka.publisher import Publisher
from infra.local.sink_receipts import read_receipts
from schemas.codec import encode
from schemas.errors import UserError
from schemas.topics import EVENTS
from senders.shaping.loader import load

DATA = Path(__file__).with_name("data")
SHAPING, SINK_SCRIPT = DATA / "shaping.toml", DATA / "sink.toml"
PROVIDER, BLOCKED, OTHER = "northmail", "harbour-1", "harbour-2"
NO_BLOCK = "no-block"
"""The file in the sink's directory without which the provider blocks."""
ORDERS_PER_S = 40
STEP_WITHIN_S = 60.0
"""Each step takes some four seconds: a suspension's time."""
LOOK_S = 0.25
RETURNED = 10
"""So many mails by the source that was blocked show that it is back."""


class BlockNotSeen(UserError):
    """What was to happen in the block did not."""


@dataclass(slots=True)
class Block:
    """The act as it went."""

    blocking: Blocking
    names: dict[str, str]
    """The sources' names, by address."""
    phases: BlockPhases = field(default_factory=BlockPhases)
    orders: int = 0
    suspension: str = ""
    """The line of `ebbtide senders status` while the source was suspended."""
    command: str = ""
    """One that was refused and then taken."""
    life: list[str] = field(default_factory=list)
    """What `ebbtide explain command` says of it."""

    def checks(self) -> list[Check]:
        """What must hold, by the receipts and by what `explain` says."""
        ways = [any(f"from {name} " in line for line in self.life) for name in (BLOCKED, OTHER)]
        explained = f"command {self.command}" if self.command else "no command was refused and then taken"
        found = Check("`explain command` shows both ways of a mail that waited", all(ways), explained)
        return [*check_block(self.phases, self.blocking), found]

    def counts(self) -> dict[str, Any]:
        """The figures of the demo's last line."""
        phases = {"before": self.phases.before, "meanwhile": self.phases.meanwhile, "after": self.phases.after}
        taken = {title: {name: found[at] for at, name in self.names.items()} for title, found in phases.items()}
        return {"refused": len(self.phases.refused), "probes": len(self.phases.probes), "taken": taken}


def read_blocking() -> tuple[Blocking, dict[str, str]]:
    """Who blocks whom, and the names of sources by address, as the shaping file has it."""
    document = load(SHAPING).document
    provider = document.provider[PROVIDER]
    names = {str(source.address): name for name, source in document.source.items()}
    addresses = {name: address for address, name in names.items()}
    return Blocking(
        NORTHMAIL,
        addresses[BLOCKED],
        addresses[OTHER],
        provider.connection_limit or 1,
        provider.automation[0].duration.total_seconds(),
    ), names


class BlockAct:
    """One run of it. `check` raises if a process of the demo has ended."""

    def __init__(
        self, environment: Environment, sink: Path, printer: StepPrinter, check: Callable[[], None], seed: int
    ) -> None:
        self._environment = environment
        self._sink = sink
        self._printer = printer
        self._check = check
        self._rng = random.Random(seed)
        self._blocking, names = read_blocking()
        self._block = Block(self._blocking, names)
        self._publishing: Future[int]

    def run(self, customers: Sequence[str]) -> Block:
        """Orders of these customers, one each, while it lasts. All of them have their mailbox at the provider."""
        say, blocking, no_block = self._printer.say, self._blocking, self._sink / NO_BLOCK
        with self._printer.step(f"{NORTHMAIL} blocks an address of ours"), self._orders(customers):
            both = (blocking.blocked, blocking.other)
            self._await("mails by both sources", lambda seen: all(seen.before[each] for each in both))
            no_block.unlink()
            self._await(f"a refusal of {BLOCKED}", lambda seen: bool(seen.refused))
            say(f"  [yellow]block[/] {NORTHMAIL} refuses mails from {BLOCKED} ({blocking.blocked})")
            self._block.suspension = self._await_suspension()
            self._await("a mail that tries again", lambda seen: bool(seen.probes))
            no_block.touch()
            say(f"  [yellow]probe[/] one mail has tried {BLOCKED} again, and was refused; now the block ends")
            self._await(f"the return of {BLOCKED}", lambda seen: seen.after[blocking.blocked] >= RETURNED)
            say(f"  [yellow]back[/]  the next one was taken, and {BLOCKED} is used as before")
        return self._block

    @contextmanager
    def _orders(self, customers: Sequence[str]) -> Iterator[None]:
        """Orders at a steady rate, from another thread, until the end of the block."""
        done = Event()
        with ThreadPoolExecutor(1) as pool:
            self._publishing = pool.submit(self._publish, customers, done)
            try:
                yield
            finally:
                done.set()
            self._block.orders = self._publishing.result()

    def _publish(self, customers: Sequence[str], done: Event) -> int:
        """Returns how many orders were published."""
        with Publisher(self._environment.kafka) as publisher:
            for number, customer in enumerate(customers):
                if done.wait(1 / ORDERS_PER_S):
                    return number
                event = order(self._rng, customer, f"block-order-{number}", datetime.now(UTC))
                publisher.send(EVENTS.name, customer.encode(), encode(event))
        return len(customers)

    def _await(self, what: str, seen: Callable[[BlockPhases], bool]) -> None:
        deadline = time.monotonic() + STEP_WITHIN_S
        while not seen(self.look()):
            self._wait(what, deadline)

    def _await_suspension(self) -> str:
        deadline = time.monotonic() + STEP_WITHIN_S
        while not (line := self._suspension()):
            self._wait(f"a suspension of {BLOCKED} in `ebbtide senders status`", deadline)
        return line

    def _wait(self, what: str, deadline: float) -> None:
        self._check()
        if self._publishing.done():
            self._publishing.result()  # raises what ended it
        if time.monotonic() > deadline:
            logs = self._environment.home / "logs"
            raise BlockNotSeen(f"the block: not seen within {STEP_WITHIN_S:g} s: {what}; see {logs} and {self._sink}")
        time.sleep(LOOK_S)

    def _suspension(self) -> str:
        """The line of `ebbtide senders status` for a suspension that is in force; empty without one."""
        found = worker_status.look(self._environment, SENDERS)
        lines = lane_tables.lines(found.lanes, None) if found.lanes else ()
        return next((line for line in lines if line.startswith("suspend ") and "on probation" not in line), "")

    def look(self) -> BlockPhases:
        """The phases by the receipts so far."""
        self._block.phases = block_phases(read_receipts(self._sink), self._blocking)
        return self._block.phases

    def explain(self) -> None:
        """Looks at it again when all is settled, and at the life of one mail that was refused and then taken."""
        refused = next((each for each in self.look().refused if self._block.phases.taken_later(each)), None)
        if refused is None:
            return
        user = refused.rcpt_to.partition("@")[0]
        environment = self._environment
        with psycopg.connect(environment.ledger_url) as connection:
            query = "SELECT command_id FROM ledger WHERE user_id = %s AND trigger = 'thank-you'"
            row = connection.execute(query, [user]).fetchone()
        if row is not None:
            self._block.command = row[0]
            life = command_life.read(environment.ledger_url, environment.database_url, row[0])
            self._block.life = list(command_life.lines(life))
