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
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL

from cli.backtest.run import run_in_memory
from cli.backtest.tables import show_backtest
from cli.demo import cdnow
from cli.demo.block import NO_BLOCK, SHAPING, SINK_SCRIPT, BlockAct
from cli.demo.books import Check, read_books, reconcile
from cli.demo.crowd import NORTHMAIL, Crowd, Sizes, gather, last_purchases, mailbox, profile, shift_to_present
from cli.demo.hindsight import act_on_rules
from cli.demo.history import check_history, read_history
from cli.demo.http_feed import REFUSED, HttpFeed, track
from cli.demo.person import act_on_person
from cli.demo.readers import ReaderActions, Readers, check_leaving, check_reading
from cli.demo.report import DemoReport, Kill
from cli.demo.workers import DemoProcesses
from cli.environment import WEB, Environment
from cli.manifests.publication import apply_folder
from cli.operations.new_keys import add_server_key
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
from infra.local.sink_mails import read_messages
from infra.postgres.migrate import migrate
from infra.service.page_client import read_page
from schemas.codec import encode
from schemas.errors import UserError
from schemas.topics import BROADCASTS, COMMANDS, DECISIONS, DEMO_PARTITIONS, EVENTS, OUTCOMES, PROFILES
from senders.content.dkim import dns_record, load_key

INPUTS = (EVENTS.name, PROFILES.name, OUTCOMES.name, BROADCASTS.name)
GROUPS = {
    "ebbtide-streams": INPUTS,
    "ebbtide-senders": (COMMANDS.name,),
    "ebbtide-recorder": (DECISIONS.name, OUTCOMES.name),
    "ebbtide-recipients": (PROFILES.name, OUTCOMES.name),
}
FEED_PER_S = 800
FEED_BATCH = 40
LEAVING = 2
"""Readers who unsubscribe."""
DRAIN_TIMEOUT_S = 180.0
SETTLE_S = 4
"""Timers fire within a second of their instant; their commands are on Kafka well before this time has passed."""
DOMAIN, SELECTOR = "mail.cd-harbour.example", "demo"
ORIGIN = f"https://{DOMAIN}"
"""Where links in mails lead if this machine's own pages are not for this instance. Readers use a local port anyway."""


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
        self.secret = ""
        self.refused: list[dict[str, Any]] = []
        self.origin: str = environment.own_pages.get("public_url", ORIGIN)
        self.variables = {
            **os.environ,
            **environment.variables(),
            "EBBTIDE_DKIM_DOMAIN": DOMAIN,
            "EBBTIDE_DKIM_SELECTOR": SELECTOR,
            "EBBTIDE_MAIL_FROM": f"CD Harbour <hello@{DOMAIN}>",
            "EBBTIDE_PUBLIC_URL": self.origin,
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
                tested = run_in_memory(self.folder.load(), LogReader(log).events(step.at))
            show_backtest(printer.console, tested)
            with printer.step("start Kafka and TimescaleDB, migrate, create topics"):
                starting.result()
        manifest = apply_folder(environment.kafka, self.folder, by="demo")
        printer.say(f"[green]✓[/] rules published as manifest {manifest.number}")
        self._start_sink()
        self._start_streams()
        self.workers.start("senders", "run", "senders", "--instance", environment.instance)
        self._start_http()
        return self._live(purchases, tested.crossings())

    def _start_sink(self) -> None:
        self.sink.mkdir(exist_ok=True)
        (self.sink / NO_BLOCK).touch()
        where = ("--port", str(self.environment.ports.smtp), "--dir", str(self.sink))
        script = ("--script", str(SINK_SCRIPT), "--keep-mails")
        self.workers.start("sink", *where, *script, module="infra.local.sink_server")

    def _start_http(self) -> None:
        """Makes a write key and starts the HTTP process and what publishes profiles: the live events need them."""
        with psycopg.connect(self.environment.database_url) as connection:
            self.secret = add_server_key(connection, "demo", datetime.now(UTC), by="demo")
        for part in ("web", "profiles"):
            self.workers.start(part, "run", part, "--instance", self.environment.instance)

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
            readers_did = self._engage()
            self._drain(progress, crowd.last_due)
            live_s = (datetime.now(UTC) - live_from).total_seconds()
        with printer.step("read the books, check every signature"):
            books = read_books(kafka, self.environment.database_url, self.sink, live_from)
            record = dns_record(load_key(self.environment.dkim_key)).encode()
            checks = reconcile(books, record, SELECTOR, DOMAIN, readers_did.count)
            found = f"{mailed_by_backfill:,} commands"
            checks.append(Check("the backfill mailed nobody", mailed_by_backfill == 0, found))
            act.explain()
            checks += block.checks()
            suppressed = self._count("suppressions WHERE reason = 'unsubscribed'")
            checks += [check_reading(readers_did), check_leaving(books, readers_did, suppressed, LEAVING)]
            what = ", ".join(f"{each['field']} {each['reason']}" for each in self.refused)
            checks.append(Check("an event without a name is refused by HTTP", len(self.refused) == 1, what))
        with printer.step("replay the journal, and compare"):
            history = read_history(kafka, INPUTS)
            checks += check_history(history, self.folder.load())
        checks += act_on_rules(environment, self.folder, books, live_from, printer)
        checks += act_on_person(environment, printer)
        kill = Kill(_half(crowd), history.first_checkpoint_after(killed_s))
        live_events = len(crowd.events) + block.orders
        return DemoReport(books, checks, total, backfill_s, live_events, live_s, self.seed, kill, block)

    def _feed(self, crowd: Crowd) -> float:
        """Sends the live events by HTTP at a steady rate; kills the stream worker half-way.

        Two broken records go to Kafka itself, since the HTTP process would refuse them, as it refuses one item here.
        Returns the time of the kill, in seconds since the epoch.
        """
        self._await_http()
        with Publisher(self.environment.kafka) as publisher:
            publisher.send(EVENTS.name, b"customer-00001", b"{not json")
            publisher.send(EVENTS.name, b"customer-00002", b'{"id": "no-type", "user_id": "customer-00002"}')
        killed_s = 0.0
        with (
            self.printer.step("live, by HTTP: browsing, carts and orders", len(crowd.events)) as step,
            HttpFeed(self.environment.ports.http, self.secret) as feed,
        ):
            started = time.monotonic()
            self.refused = feed.refused([REFUSED, *map(track, crowd.events[:FEED_BATCH])])
            for number in range(FEED_BATCH, len(crowd.events), FEED_BATCH):
                feed.send(crowd.events[number : number + FEED_BATCH])
                if number == _whole_batches(len(crowd.events) // 20):
                    feed.identify(crowd.profiles)
                if number == _half(crowd):
                    killed_s = self._kill_streams(number)
                time.sleep(max(0.0, started + number / FEED_PER_S - time.monotonic()))
                step.at(number)
        return killed_s

    def _await_http(self) -> None:
        """Waits until the HTTP process takes events."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        port = self.environment.page_port(WEB)
        while (found := read_page(port, "/ready")) is None or found[0] != HTTPStatus.OK:
            self._check(deadline, {"HTTP processes that are not ready": 1})
            time.sleep(0.1)

    def _kill_streams(self, after: int) -> float:
        self.workers.kill("streams")
        killed_s = time.time()
        self._start_streams()
        self.printer.say(f"  [yellow]kill -9[/] the stream worker after {after:,} live events, and start it again")
        return killed_s

    def _engage(self) -> ReaderActions:
        """Readers follow the links of their mails, by HTTP. Returns what they did, once all of it is recorded."""
        with self.printer.step("readers open, click, and two unsubscribe") as step:
            with Readers(self.origin, self.environment.ports.http) as readers:
                readers_did = readers.read(list(read_messages(self.sink)), random.Random(self.seed), LEAVING)
            self._wait(step, lambda: readers_did.count - self._count("engagement"), readers_did.count)
        return readers_did

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
        return self._count("ledger WHERE state IN ('admitted', 'started', 'deferred')")

    def _count(self, rows: str) -> int:
        query = SQL("SELECT count(*) FROM {}").format(SQL(rows))
        with psycopg.connect(self.environment.database_url) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def _half(crowd: Crowd) -> int:
    return _whole_batches(len(crowd.events) // 2)


def _whole_batches(number: int) -> int:
    return number - number % FEED_BATCH


def relative(path: Path) -> Path:
    """The path as a person would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
