"""One chaos run of delivery: servers, receivers of mails and webhooks, a feed, workers, trouble, and the verdict."""

import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from chaos_senders import endpoints, receiver, trouble
from chaos_senders.audit import audit
from chaos_senders.books import read_books
from chaos_senders.budget import HELD, check_and_release
from chaos_senders.logs import read_logs
from chaos_senders.trouble import Patience
from chaos_senders.worker import FAULTS
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from drivers.chaos_command import ChaosReport
from drivers.running_senders import Harbour
from drivers.troubled_run import Trouble, TroubledRun
from drivers.warm_interpreter import WarmProgram
from drivers.whole_pipeline import new_topics
from drivers.worker_crew import Workers
from rich.console import Console
from slow_model.compare import Comparison

from infra.kafka.client import KafkaAway
from infra.kafka.progress import Progress
from infra.kafka.topic_setup import ensure_topics
from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports
from infra.local.sink_process import ProviderSink
from infra.postgres.migrate import migrate
from schemas.rules import CURRENT, Manifest
from schemas.topics import COMMANDS, OUTCOMES, RULES
from senders.queue.intake import CommandIntake
from senders.recording.recorder import Recorder

PORT_OFFSET = 660
PARTITIONS = 12
MORE_WORKERS = 1
"""How many more than planned may join."""
STATIC_SLOT = 0
"""The worker of this slot is a static member of its groups: back within the session, it moves no partition."""
STARTED_WITHIN_S = 60.0
CALLS = "calls"
"""The file in which the receiver of webhooks keeps its requests."""
CONTROLS = tuple(FAULTS)
WORKER = "import os; os.setsid(); from chaos_senders.worker import main; main()"
"""In a session of its own: Ctrl-C is not for the workers."""
ANSWER_S = 10.0
"""The longest wait for a reply of the receiver."""
LONGEST_REST_S = 10.0
"""Between two troubles, beyond what the schedule says."""
LOOK_S, LOOK_SHARE = 1.0, 0.05
"""How often the books are looked at, and the share of the time that this may take."""
GROUPS_WITHIN_S = 15.0
"""For the broker's answer about the groups."""
GROUPS = [CommandIntake.group, Recorder.group]
BALANCE = "SELECT commands, terminal, waiting, in_doubt FROM v_delivery_balance"
OVERDUE = """SELECT command_id, owner, started_at FROM ledger_queue
             WHERE state = 'started' AND started_at < now() - %s::interval"""
LEFT = f"""SELECT (SELECT count(*) FROM ledger_queue
                  WHERE (state <> 'in_doubt' OR next_attempt_at IS NOT NULL) AND ({HELD}) IS NOT TRUE),
                 (SELECT count(*) FROM ledger_outbox), (SELECT coalesce(sum(attempt), 0) FROM ledger_queue)"""


@dataclass(frozen=True)
class SenderChaosPlan:
    """One run."""

    seed: int
    commands: int = 200_000
    troubles: int = 200
    outages: int = 4
    minutes: float = 15.0
    workers: int = 3
    control: str = ""
    session_s: float = 3.0
    lease_s: float = 5.0
    kafka: str = ""
    database_url: str = ""
    """Servers that run already and are not killed; the run starts its own where there are none."""

    @property
    def seconds(self) -> float:
        """Over which commands are published, and trouble happens."""
        return self.minutes * 60

    @property
    def expire_s(self) -> float:
        """When commands expire that nobody takes."""
        return min(60.0, self.seconds / 3)

    @property
    def patience(self) -> Patience:
        """What freezes are measured by."""
        return Patience(self.session_s, self.lease_s)

    @property
    def overdue_s(self) -> float:
        """How long a mail may say `started`: its worker freezes, then its lease ends, then another worker, which may
        freeze too, judges it."""
        longest = max(self.patience.freezes()[-1][1], trouble.VERY_LONG_S[1])
        return 2 * longest + 2 * self.lease_s + 5 + ANSWER_S + trouble.OUTAGE_S[1]

    @property
    def still_s(self) -> float:
        """How long nothing may change at the end before what is left counts as stuck. Delivery reads its whole queue
        once a minute."""
        return 60 + 2 * self.lease_s + 15


class SenderChaos(TroubledRun):
    """A run that is going on. Leaving the `with` block ends everything that it started."""

    def __init__(self, plan: SenderChaosPlan, console: Console) -> None:
        self.plan = plan
        self.ports = Ports(Ports.from_env().base + PORT_OFFSET)
        layout = Layout.of_project()
        self.folder = layout.home / "chaos" / str(self.ports.base)
        self.engine = NativeEngine(self.ports, layout.in_own_partition(self.folder / "servers"))
        self.engine.down()  # what a run that was killed left
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.kafka = plan.kafka or self.engine.endpoints.kafka
        self.database_url = plan.database_url or self.engine.endpoints.database_url
        self.sink = ProviderSink(self.ports.smtp, self.folder / "sink", receiver.script(plan.seed))
        self.found = Comparison()
        self._looks_at_s = 0.0
        self._away: set[str] = set()
        self._ended = 0
        self._started = ExitStack()
        crew = Workers(self.folder, self._program, self._variables, b"senders_started")
        super().__init__(crew, console, plan.workers + MORE_WORKERS)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            if self.plan.kafka:
                new_topics(self.kafka)
            else:
                started.callback(self.engine.down)
                self.engine.up()
                ensure_topics(self.kafka, PARTITIONS)
            migrate(self.database_url)
            self.harbour = self._harbour()
            started.callback(self.harbour.close)
            self._publish_rules()
            started.callback(self.sink.kill)
            self.sink.start()
            started.callback(self.close)
            self._start_endpoints()
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def _publish_rules(self) -> None:
        """The template and the endpoints that commands name."""
        texts, where = [self.harbour.publish_template()], endpoints.documents(self.ports.http)
        manifest = Manifest(number=1, texts=texts, applied_at=datetime.now(UTC), endpoints=where)
        self.harbour.publish(RULES.name, CURRENT, manifest)

    def _start_endpoints(self) -> None:
        options = ("--port", self.ports.http, "--seed", self.plan.seed, "--kept", self.folder / CALLS)
        self.receiver = self.start_client("chaos_senders.endpoints", *options)

    def _harbour(self) -> Harbour:
        """The settings of all workers."""
        plan = self.plan
        return Harbour(
            self.kafka,
            self.database_url,
            self.folder,
            smtp_port=self.ports.smtp,
            senders_web_port=self.ports.senders_web,
            session_timeout_ms=round(plan.session_s * 1000),
            lease_s=plan.lease_s,
            smtp_timeout_s=ANSWER_S,
            smtp_final_dot_timeout_s=ANSWER_S,
            retry_first_s=0.5,
            retry_longest_s=4.0,
            template_wait_s=3.0,
            connections=16,
            webhook_secrets=endpoints.SECRETS,
            webhook_private_hosts=[endpoints.HOST],
            webhook_retry_first_s=0.5,
            webhook_retry_longest_s=4.0,
        )

    def _program(self, slot: int) -> WarmProgram:
        return WarmProgram("chaos_senders.worker", WORKER, (str(slot),))

    def _variables(self, slot: int) -> dict[str, str]:
        more = {"CHAOS_FAULT": self.plan.control}
        if slot == STATIC_SLOT:
            more["EBBTIDE_SENDER_INSTANCE"] = f"chaos-{slot}"
        return self.harbour.variables | more

    # what happens ----------------------------------------------------------------------------------------------------

    def happens(self, each: Trouble) -> None:
        """One trouble, to a worker that runs: where all wait for their restart, the first comes at once."""
        if not self.crew.processes:
            self.start(0)
        super().happens(each)

    def _receiver(self, each: Trouble) -> None:
        self._kill_server(each, self.sink.kill, self.sink.start)

    def _endpoints(self, each: Trouble) -> None:
        def kill() -> None:
            self.receiver.kill()
            self.receiver.wait()

        self._kill_server(each, kill, self._start_endpoints)

    def _broker(self, each: Trouble) -> None:
        self._kill_server(each, self.engine.kafka.kill, self.engine.kafka.start)

    def _database(self, each: Trouble) -> None:
        self._kill_server(each, self.engine.timescale.kill, self.engine.timescale.start)

    def _kill_server(self, each: Trouble, kill: Callable[[], object], start: Callable[[], object]) -> None:
        """Kills a server, unless it is away, and starts it later."""
        if each.kind in self._away:
            return
        self._away.add(each.kind)
        kill()

        def come_back() -> None:
            start()
            self._away.discard(each.kind)

        self.later(each.seconds, come_back)

    # what is looked at -----------------------------------------------------------------------------------------------

    def progress(self) -> str:
        """How far delivery is."""
        try:
            [(commands, terminal, waiting, in_doubt)] = self.harbour.rows(BALANCE)
        except psycopg.OperationalError:
            return "the database does not say"
        running = ",".join(map(str, sorted(self.crew.processes)))
        return (
            f"commands {commands:,}  ended {terminal:,}  waiting {waiting:,}  in doubt {in_doubt:,}  workers {running}"
        )

    def tick(self) -> None:
        """Looks at the books, unless it did so a moment ago."""
        began_s = time.monotonic()
        if began_s < self._looks_at_s:
            return
        try:
            self.look()
        except psycopg.OperationalError:
            self.happened["looks without a database"] += 1
        took_s = time.monotonic() - began_s
        self._looks_at_s = time.monotonic() + max(LOOK_S, took_s / LOOK_SHARE)

    def look(self) -> None:
        """Checks what must hold at every instant."""
        [(commands, terminal, waiting, in_doubt)] = self.harbour.rows(BALANCE)
        self._ended = terminal + in_doubt
        if commands != terminal + waiting + in_doubt:
            self.found.note("the balance is wrong", (commands, terminal, waiting, in_doubt))
        for row in self.harbour.rows(OVERDUE, f"{self.plan.overdue_s} s"):
            self.found.note("mails said to be started for too long", row)
        self.found.compared["balances"] += 1

    # the whole -------------------------------------------------------------------------------------------------------

    def play(self) -> ChaosReport:
        """Plays the whole run and audits it."""
        plan, seconds = self.plan, dict[str, float]()
        for slot in range(plan.workers):
            self.start(slot)
        self.crew.wait_until_recovered(within_s=STARTED_WITHIN_S)
        self.began_s = time.monotonic()
        feed = self._feed()
        for each in self._schedule():
            self.pass_time(self.began_s + each.at_s)
            self._wait_for_mails(each.at_s / plan.seconds)
            self.happens(each)
        self.finish_feed(feed)
        self.finish_what_is_due_later()
        seconds["trouble"] = time.monotonic() - self.began_s
        self._settle()
        seconds["settling"] = time.monotonic() - self.began_s - seconds["trouble"]
        self.say("the audit begins")
        self._audit()
        seconds["audit"] = time.monotonic() - self.began_s - sum(seconds.values())
        return ChaosReport(self.found, self.happened, self.folder, seconds)

    def _schedule(self) -> list[Trouble]:
        plan = self.plan
        if not plan.control:
            return trouble.schedule(plan.seed, plan.seconds, plan.troubles, plan.outages, plan.patience)
        _, kind = FAULTS[plan.control]
        return trouble.controlled(kind, plan.seconds, plan.troubles, plan.patience) if kind else []

    def _wait_for_mails(self, share: float) -> None:
        """Lets delivery come so far, within a bound: on a slow machine trouble is to reach the last commands too."""
        give_up_s = time.monotonic() + LONGEST_REST_S
        while self._ended < share * self.plan.commands and time.monotonic() < give_up_s:
            self.pass_time(time.monotonic() + 0.2)

    def _feed(self) -> "subprocess.Popen[bytes]":
        plan = self.plan
        options = ("--kafka", self.kafka, "--seed", plan.seed, "--commands", plan.commands)
        per_s = 1e9 if plan.control else plan.commands / plan.seconds
        return self.start_client("chaos_senders.feed", *options, "--per-s", per_s, "--expire-s", plan.expire_s)

    def _settle(self) -> None:
        """Waits until nothing is left to do, releases what the budget holds, waits again, and stops the workers."""
        self.say("all is published, and no more trouble comes")
        for slot in range(self.plan.workers):
            self.start(slot)
        if self._came_to_an_end():
            check_and_release(self.harbour, self.found)
            self._came_to_an_end()
        self.look()
        slots = list(self.crew.processes)
        with ThreadPoolExecutor(len(slots)) as pool:
            list(pool.map(self.stop, slots))

    def _came_to_an_end(self) -> bool:
        """Waits until nothing is left to do but what the budget holds; false if nothing changes for too long."""
        left, changed_s = self._left(), time.monotonic()
        while any(left[:-1]) and time.monotonic() < changed_s + self.plan.still_s:
            self.pass_time(time.monotonic() + 0.5)
            before, left = left, self._left()
            if left != before:
                changed_s = time.monotonic()
        if any(left[:-1]):
            self.say(f"something is left: {left}; {self._groups()}")
        return not any(left[:-1])

    def _left(self) -> tuple[Any, ...]:
        """Records to read, commands that wait, outcomes to publish; and how many attempts of what is left were made."""
        with suppress(KafkaException, KafkaAway), Progress(self.kafka) as progress:
            unread = progress.lag(CommandIntake.group, [COMMANDS.name])
            left = self.harbour.rows(LEFT)[0]
            unrecorded = progress.lag(Recorder.group, [OUTCOMES.name])  # last: what left the outbox meanwhile is there
            return (unread + unrecorded, *left)
        return (-1, 0)

    def _groups(self) -> str:
        """What the broker says of the groups, of which its log says more."""
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        told = []
        for name, answer in admin.describe_consumer_groups(GROUPS).items():
            try:
                group = answer.result(GROUPS_WITHIN_S)
            except KafkaException as error:
                told.append(f"{name}: {error}")
                continue
            members = ", ".join(f"{each.member_id} {len(each.assignment.topic_partitions)}" for each in group.members)
            told.append(f"{name}: {group.state.name}, members and their partitions: {members or 'none'}")
        return "; ".join(told)

    def _audit(self) -> None:
        kinds = (*trouble.SHARES, *trouble.SERVERS)
        losses = sum(self.happened[kind] for kind in kinds) + self.crew.exits.total()
        books = read_books(self.kafka, self.database_url, self.sink, self.folder / CALLS)
        self.found.merge(audit(books, losses))
        read_logs(self.folder, self.found, self.happened)
