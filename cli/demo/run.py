"""The demo, start to end: servers, rules, a backtest, a backfill, a live crowd, a kill, a block, a restock, and the
books."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL

from cli.backtest.run import run_in_memory
from cli.backtest.tables import show_backtest
from cli.demo import cdnow
from cli.demo.block import NO_BLOCK, SHAPING, SINK_SCRIPT, Block, BlockAct
from cli.demo.books import Books, Check, read_books, reconcile
from cli.demo.crm import PATH, SECRET_NAME, Crm, led_to
from cli.demo.crowd import NORTHMAIL, Crowd, Sizes, gather, last_purchases, mailbox, profile, shift_to_present
from cli.demo.hindsight import act_on_rules
from cli.demo.history import check_history, read_history
from cli.demo.http_feed import REFUSED, HttpFeed, track
from cli.demo.person import act_on_person
from cli.demo.readers import ReaderActions, Readers, check_leaving, check_reading
from cli.demo.report import DemoReport, Kill
from cli.demo.restock import ALBUM, Restock, RestockAct
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
from infra.local.webhook_receiver import HOST
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
WAITING = """ledger_queue WHERE (state IN ('admitted', 'started', 'deferred') OR next_attempt_at IS NOT NULL)
    AND NOT (channel = 'webhook' AND EXISTS (SELECT FROM webhook_suspensions))"""
"""What delivery is still to do. Webhooks of a suspended endpoint may wait for long: the books tell of them."""
DOMAIN, SELECTOR = "mail.cd-harbour.example", "demo"
ORIGIN = f"https://{DOMAIN}"
"""Where links in mails lead if this machine's own pages are not for this instance. Readers use a local port anyway."""


class DemoFailed(UserError):
    """Something stopped the demo before it could read its books."""


@dataclass(frozen=True, slots=True)
class LiveActs:
    """What happened live, once all of it is settled."""

    live_from: datetime
    took_s: float
    crowd: Crowd
    killed_s: float
    """When the stream worker was killed, in seconds since the epoch."""
    block: Block
    restock: Restock
    readers_did: ReaderActions


class Demo:
    """One run. It always stops everything that it starts."""

    def __init__(
        self, environment: Environment, engine: Engine, folder: Folder, printer: StepPrinter, seed: int
    ) -> None:
        self.environment = environment
        self.engine = engine
        self.crm = Crm()
        self.folder = led_to(folder, self.crm.url(PATH))
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
            "EBBTIDE_EVENTS_CATALOGUE": folder.catalogues[0].path,
            "EBBTIDE_WEBHOOK_SECRETS": json.dumps({SECRET_NAME: self.crm.secret}),
            "EBBTIDE_WEBHOOK_PRIVATE_HOSTS": json.dumps([HOST]),
            "EBBTIDE_WEBHOOK_RETRY_FIRST_S": "1",
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
            stack.enter_context(self.crm)
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
        kafka = self.environment.kafka
        end = max(p.time for p in purchases)
        shift = shift_to_present(datetime.now(UTC), end, crossings)
        customers = {customer: time + shift for customer, time in last_purchases(purchases).items()}
        with Progress(kafka) as progress:
            total, backfill_s = self._backfill(purchases, customers, shift, progress)
            mailed = sum(1 for _ in read_all(kafka, COMMANDS.name))
            acts = self._act(customers, progress)
        with self.printer.step("read the books, check every signature"):
            books = read_books(kafka, self.environment.database_url, self.sink, acts.live_from)
            checks = self._reconcile(books, acts)
            checks.append(Check("the backfill mailed nobody", mailed == 0, f"{mailed:,} commands"))
        with self.printer.step("replay the journal, and compare"):
            history = read_history(kafka, INPUTS)
            checks += check_history(history, self.folder.load())
        checks += act_on_rules(self.environment, self.folder, books, acts.live_from, self.printer)
        checks += act_on_person(self.environment, self.printer)
        kill = Kill(_half(acts.crowd), history.first_checkpoint_after(acts.killed_s))
        return DemoReport(
            books,
            checks,
            total,
            backfill_s,
            len(acts.crowd.events) + acts.block.orders + acts.restock.events,
            acts.took_s,
            self.seed,
            kill,
            acts.block,
            acts.restock,
        )

    def _backfill(
        self, purchases: list[cdnow.Purchase], customers: dict[str, datetime], shift: timedelta, progress: Progress
    ) -> tuple[int, float]:
        """Publishes everybody's profile and the log, `shift` later. Returns how many records, and the seconds until
        all were applied."""
        began, total, since = time.monotonic(), len(customers) + len(purchases), max(customers.values())
        with Publisher(self.environment.kafka) as publisher:
            for customer in customers:
                publisher.send(PROFILES.name, customer.encode(), encode(profile(customer, since)))
            publisher.flush()
            for purchase in sorted(purchases, key=lambda p: (p.time, p.row)):
                publisher.send(EVENTS.name, purchase.customer.encode(), encode(purchase.event(shift)))
        with self.printer.step("backfill through Faust, which builds the scores", total) as step:
            self._wait(step, lambda: progress.lag("ebbtide-streams", INPUTS), total)
        return total, time.monotonic() - began

    def _act(self, customers: dict[str, datetime], progress: Progress) -> LiveActs:
        live_from = datetime.now(UTC)
        crowd = gather(self.seed, live_from, customers, self.sizes)
        killed_s = self._feed(crowd)
        block_act = BlockAct(self.environment, self.sink, self.printer, self.workers.check, self.seed)
        block = block_act.run([each for each in crowd.browsers if mailbox(each).endswith(f"@{NORTHMAIL}")])
        restock_act = RestockAct(self.environment, self.crm, crowd.browsers, datetime.now(UTC))
        self._restock(restock_act)
        self._drain(progress, crowd.last_due)
        with self._http_feed() as feed:
            restock_act.ask_late(feed, datetime.now(UTC))
        readers_did = self._engage()
        self._drain(progress, crowd.last_due)
        took_s = (datetime.now(UTC) - live_from).total_seconds()
        block_act.explain()
        return LiveActs(live_from, took_s, crowd, killed_s, block, restock_act.end(), readers_did)

    def _reconcile(self, books: Books, acts: LiveActs) -> list[Check]:
        readers_did = acts.readers_did
        record = dns_record(load_key(self.environment.dkim_key)).encode()
        suppressed = self._count("suppressions WHERE reason = 'unsubscribed'")
        refused = ", ".join(f"{each['field']} {each['reason']}" for each in self.refused)
        return [
            *reconcile(books, record, SELECTOR, DOMAIN, readers_did.count),
            *acts.block.checks(),
            *acts.restock.checks(books),
            check_reading(readers_did),
            check_leaving(books, readers_did, suppressed, LEAVING),
            Check("an event without a name is refused by HTTP", len(self.refused) == 1, refused),
        ]

    def _restock(self, act: RestockAct) -> None:
        title = f"{ALBUM} is back: one event without a user, a mail and a webhook for each who waits"
        with self.printer.step(title) as step, self._http_feed() as feed:
            act.begin(feed)
            self._wait(step, act.left, act.left())

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
            self._http_feed() as feed,
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

    def _http_feed(self) -> HttpFeed:
        return HttpFeed(self.environment.ports.http, self.secret)

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
        return self._count(WAITING)

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
