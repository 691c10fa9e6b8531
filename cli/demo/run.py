"""The demo, start to end: servers, rules, a backtest, a backfill, a live crowd, a kill, a block, and the books."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from cli.demo import cdnow
from cli.demo.block import NO_BLOCK, SHAPING, SINK_SCRIPT, BlockAct
from cli.demo.books import Check, read_books, reconcile
from cli.demo.crowd import NORTHMAIL, Crowd, Sizes, gather, last_purchases, mailbox, profile, shift_to_present
from cli.demo.history import check_history, read_history
from cli.demo.report import DemoReport, Kill
from cli.demo.workers import DemoProcesses
from cli.environment import Environment
from cli.manifests.publication import apply_folder
from cli.rules.backtesting import run_backtest, show_backtest
from cli.rules.event_log import LogReader
from cli.rules.rule_folder import Folder
from cli.running import make_dkim_key
from cli.step_printer import ProgressStep, StepPrinter
from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from infra.kafka.topic_setup import ensure_topics
from infra.local import name_server
from infra.local.engine import Engine
from infra.postgres.migrate import migrate
from schemas.codec import decode, encode
from schemas.errors import UserError
from schemas.outcomes import Outcome
from schemas.topics import COMMANDS, DECISIONS, DEMO_PARTITIONS, EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import OutcomeKind
from senders.content.dkim import dns_record, load_key
from triggers.cases.timelines import Timelines

INPUTS = (EVENTS.name, PROFILES.name, OUTCOMES.name)
GROUPS = {
    "ebbtide-streams": INPUTS,
    "ebbtide-senders": (COMMANDS.name,),
    "ebbtide-recorder": (DECISIONS.name, OUTCOMES.name),
    "ebbtide-recipients": (PROFILES.name, OUTCOMES.name),
}
FEED_PER_S = 800
DRAIN_TIMEOUT_S = 180.0
SETTLE_S = 4
"""Timers fire within a second of their instant; their commands are on Kafka well before this time has passed."""
DOMAIN, SELECTOR = "mail.cd-harbour.example", "demo"


class DemoFailed(UserError):
    """Something stopped the demo before it could read its books."""


class Demo:
    """One run. It always stops everything that it starts."""

    def __init__(
        self, environment: Environment, engine: Engine, folder: Folder, printer: StepPrinter, seed: int
    ) -> None:
        self.environment = environment
        self.engine = engine
        self.folder = folder
        self.printer = printer
        self.seed = seed
        self.sizes = Sizes()
        self.variables = {
            **os.environ,
            **environment.variables(),
            "EBBTIDE_DKIM_DOMAIN": DOMAIN,
            "EBBTIDE_DKIM_SELECTOR": SELECTOR,
            "EBBTIDE_MAIL_FROM": f"CD Harbour <hello@{DOMAIN}>",
            "EBBTIDE_SHAPING": str(SHAPING),
            "EBBTIDE_DNS_SERVERS": json.dumps([f"{name_server.HOST}:{environment.ports.smtp}"]),
            "EBBTIDE_DANE": "false",
            "EBBTIDE_ALLOW_PRIVATE_MX": "true",
        }
        self.sink = environment.home / "sink"
        self.workers = DemoProcesses(self.variables, environment.home / "logs")

    @contextmanager
    def running(self, keep: bool = False) -> Iterator[None]:
        """Stops everything that the demo started at the end of the block; with `keep`, the servers go on."""
        with ExitStack() as stack:
            if not keep:
                stack.callback(self.engine.down)
            stack.enter_context(name_server.name_server(self.environment.ports.smtp))  # by UDP; the sink has it by TCP
            stack.enter_context(self.workers)
            yield

    def run(self) -> DemoReport:
        """The whole demo, within `running`."""
        printer, environment = self.printer, self.environment
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_servers)
            purchases = cdnow.read(cdnow.fetch(environment.home.parent / "cdnow"))
            log = self._write_log(purchases)
            printer.say(f"[bold]ebbtide backtest {self.folder.root} --events {relative(log)}[/]")
            with printer.step("backtest of the whole log, by event time", len(purchases)) as step:
                timelines = Timelines(self.folder.load()).read(LogReader(log).events())
                tested = run_backtest(timelines, step.at)
            show_backtest(printer.console, tested)
            with printer.step("start Kafka and TimescaleDB, migrate, create topics"):
                starting.result()
        manifest = apply_folder(environment.kafka, self.folder, by="demo")
        printer.say(f"[green]✓[/] rules published as manifest {manifest.number}")
        self._start_sink()
        self._start_streams()
        self.workers.start("senders", "run", "senders", "--instance", environment.instance)
        return self._live(purchases, tested.crossings())

    def _start_sink(self) -> None:
        self.sink.mkdir(exist_ok=True)
        (self.sink / NO_BLOCK).touch()
        where = ("--port", str(self.environment.ports.smtp), "--dir", str(self.sink))
        script = ("--script", str(SINK_SCRIPT), "--keep-mails")
        self.workers.start("sink", *where, *script, module="infra.local.sink_server")

    def _start_streams(self) -> None:
        self.workers.start("streams", "run", "streams", "--instance", self.environment.instance)

    def _start_servers(self) -> None:
        home, kafka = self.environment.home, self.environment.kafka
        self.engine.down()
        for left in ("data", "sink", "faust", "logs"):
            shutil.rmtree(home / left, ignore_errors=True)
        self.engine.up()
        migrate(self.environment.database_url)
        ensure_topics(kafka, DEMO_PARTITIONS)
        make_dkim_key(self.environment)

    def _write_log(self, purchases: list[cdnow.Purchase]) -> Path:
        log = self.environment.home.parent / "cdnow" / "cdnow.jsonl"
        if not log.exists():
            part = log.with_suffix(".part")
            part.write_bytes(b"\n".join(encode(purchase.event()) for purchase in purchases) + b"\n")
            part.rename(log)
        return log

    def _live(self, purchases: list[cdnow.Purchase], crossings: list[datetime]) -> DemoReport:
        printer, environment = self.printer, self.environment
        kafka = environment.kafka
        end = max(p.time for p in purchases)
        shift = shift_to_present(datetime.now(UTC), end, crossings)
        began = time.monotonic()
        customers = last_purchases(purchases)
        with Publisher(kafka) as publisher:
            for customer in customers:
                publisher.send(PROFILES.name, customer.encode(), encode(profile(customer, end + shift)))
            publisher.flush()
            for purchase in sorted(purchases, key=lambda p: (p.time, p.row)):
                publisher.send(EVENTS.name, purchase.customer.encode(), encode(purchase.event(shift)))
        with Progress(kafka) as progress:
            total = len(customers) + len(purchases)
            with printer.step("backfill through Faust, which builds the scores", total) as step:
                self._wait(step, lambda: progress.lag("ebbtide-streams", INPUTS), total)
            backfill_s = time.monotonic() - began
            mailed_by_backfill = sum(1 for _ in read_all(kafka, COMMANDS.name))
            live_from = datetime.now(UTC)
            crowd = gather(self.seed, live_from, {c: t + shift for c, t in customers.items()}, self.sizes)
            killed_s = self._feed(crowd)
            act = BlockAct(environment, self.sink, printer, self.workers.check, self.seed)
            block = act.run([each for each in crowd.browsers if mailbox(each).endswith(f"@{NORTHMAIL}")])
            self._drain(progress, crowd.last_due)
            engaged = self._engage()
            self._drain(progress, crowd.last_due)
            live_s = (datetime.now(UTC) - live_from).total_seconds()
        with printer.step("read the books, check every signature"):
            books = read_books(kafka, self.environment.database_url, self.sink, live_from)
            record = dns_record(load_key(self.environment.dkim_key)).encode()
            checks = reconcile(books, record, SELECTOR, DOMAIN, engaged)
            found = f"{mailed_by_backfill:,} commands"
            checks.append(Check("the backfill mailed nobody", mailed_by_backfill == 0, found))
            act.explain()
            checks += block.checks()
        with printer.step("replay the journal, and compare"):
            history = read_history(kafka, INPUTS)
            checks += check_history(history, self.folder.load())
        kill = Kill(_half(crowd), history.first_checkpoint_after(killed_s))
        live_events = len(crowd.events) + block.orders
        return DemoReport(books, checks, total, backfill_s, live_events, live_s, self.seed, kill, block)

    def _feed(self, crowd: Crowd) -> float:
        """Publishes the live events at a steady rate, with two broken records; kills the stream worker half-way.

        Returns the time of the kill, in seconds since the epoch.
        """
        killed_s = 0.0
        with (
            self.printer.step("live: browsing, carts and orders", len(crowd.events)) as step,
            Publisher(self.environment.kafka) as publisher,
        ):
            publisher.send(EVENTS.name, b"customer-00001", b"{not json")
            publisher.send(EVENTS.name, b"customer-00002", b'{"id": "no-type", "user_id": "customer-00002"}')
            started = time.monotonic()
            for number, event in enumerate(crowd.events):
                if number == len(crowd.events) // 20:
                    for changed in crowd.profiles:
                        publisher.send(PROFILES.name, changed.user_id.encode(), encode(changed))
                publisher.send(EVENTS.name, str(event.user_id).encode(), encode(event))
                if number == _half(crowd):
                    killed_s = self._kill_streams(number)
                ahead = started + number / FEED_PER_S - time.monotonic()
                if ahead > 0.02:
                    time.sleep(ahead)
                    step.at(number)
        return killed_s

    def _kill_streams(self, after: int) -> float:
        self.workers.kill("streams")
        killed_s = time.time()
        self._start_streams()
        self.printer.say(f"  [yellow]kill -9[/] the stream worker after {after:,} live events, and start it again")
        return killed_s

    def _engage(self) -> int:
        """Publishes opens and clicks for a random share of the accepted mails; returns how many."""
        rng = random.Random(self.seed)
        now = datetime.now(UTC)
        published = 0
        found = [decode(Outcome, m.value()) for m in read_all(self.environment.kafka, OUTCOMES.name)]
        accepted = sorted((o for o in found if o.kind is OutcomeKind.ACCEPTED), key=lambda o: o.command_id)
        with self.printer.step("readers open and click"), Publisher(self.environment.kafka) as publisher:
            for outcome in accepted:
                for kind, share in ((OutcomeKind.OPENED, 0.4), (OutcomeKind.CLICKED, 0.15)):
                    if rng.random() < share:
                        publisher.send(OUTCOMES.name, outcome.user_id.encode(), encode(_engagement(outcome, kind, now)))
                        published += 1
        return published

    def _drain(self, progress: Progress, last_due: datetime) -> None:
        """Waits until every timer of the run has fired and every reader is at the end, twice in a row."""
        with self.printer.step("wait until nothing is due") as step:
            self._wait(step, lambda: int((last_due - datetime.now(UTC)).total_seconds()) + SETTLE_S, 0)
            settled = 0
            deadline = time.monotonic() + DRAIN_TIMEOUT_S
            while settled < 2:
                left = {group: progress.lag(group, topics) for group, topics in GROUPS.items()}
                left["ledger"] = self._waiting_in_ledger()
                settled = settled + 1 if not any(left.values()) else 0
                self._check(deadline, left)
                step.at(0, ", ".join(f"{name} {n:,}" for name, n in left.items() if n))
                time.sleep(0.5)

    def _wait(self, step: ProgressStep, left: Callable[[], int], total: int) -> None:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while (remaining := left()) > 0:
            self._check(deadline, {"left": remaining})
            step.at(max(0, total - remaining))
            time.sleep(0.5)

    def _check(self, deadline: float, left: dict[str, int]) -> None:
        self.workers.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"not drained within {DRAIN_TIMEOUT_S:g} s: {left}; see {self.environment.home / 'logs'}")

    def _waiting_in_ledger(self) -> int:
        query = "SELECT count(*) FROM ledger WHERE state IN ('admitted', 'started', 'deferred')"
        with psycopg.connect(self.environment.database_url) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def _half(crowd: Crowd) -> int:
    return len(crowd.events) // 2


def relative(path: Path) -> Path:
    """The path as a person would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _engagement(accepted: Outcome, kind: OutcomeKind, now: datetime) -> Outcome:
    return Outcome(
        id=f"{kind}-{accepted.command_id}",
        command_id=accepted.command_id,
        user_id=accepted.user_id,
        kind=kind,
        time=now,
        provider="simulated",
        machine=False,
        url="https://cd-harbour.example/" if kind is OutcomeKind.CLICKED else None,
    )
