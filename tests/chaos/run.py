"""One chaos run: servers, rules, a feed, workers, trouble, and the verdict."""

import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

from chaos import rules, trouble
from chaos.clocks import PartitionClocks
from chaos.reading import WrittenTopics, aborted, audit
from confluent_kafka import KafkaException
from drivers.chaos_command import ChaosReport
from drivers.troubled_run import Trouble, TroubledRun
from drivers.warm_interpreter import WarmProgram
from drivers.worker_crew import WorkerProcess, Workers
from rich.console import Console

from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import read_folder
from infra.kafka.client import KafkaAway
from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.topic_setup import ensure_topics
from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports
from schemas.codec import encode
from schemas.rules import Control
from schemas.topics import BROADCASTS, COMMANDS, CONTROL, EVENTS, OUTCOMES, PROFILES
from streams.settings import StreamSettings

INPUTS = (PROFILES.name, OUTCOMES.name, EVENTS.name, BROADCASTS.name)
PORT_OFFSET = 940
MAX_WORKERS = 4
ALONE = """import importlib, os
from streams.runtime import failpoints
os.setsid()  # Ctrl-C is not for the workers
importlib.reload(failpoints)  # it reads the environment when it is imported
"""
RECOVERED_WITHIN_S = 120.0
CLOCKS_WITHIN_S = 120.0
"""How long the clocks of partitions may take to pass an instant after which nothing happens to the workers any more."""
CONTROLS = ("split", "awaiting")
"""The mistakes that a run must report. Its workers die where each shows."""
SPLIT_DEATHS = (1, 3, 5)
"""A split checkpoint counts as two commits, and the worker dies between them."""
KNOWN_BY = 500
"""Events that are applied before the first death."""
DEATHS = 4
CONTROL_USERS = 24
"""So few that many events of one come in each checkpoint: of more than 64 some are no longer known as repeated."""
SCOPES = ("global", "trigger/journey", "trigger/cart", "purpose/news", "purpose/marketing", "purpose/shop/news")


class Settled(NamedTuple):
    """Up to when every timer must have fired, and when the workers were asked to stop."""

    settled_ms: int
    stopping_ms: int


@dataclass(frozen=True)
class ChaosPlan:
    """One run."""

    seed: int
    events: int = 1_000_000
    minutes: float = 5.0
    workers: int = 3
    partitions: int = 12
    control: str = ""
    drain_s: float = 60.0
    settle_within_s: float = 600.0

    @property
    def seconds(self) -> float:
        return self.minutes * 60


@dataclass
class StreamChaosReport(ChaosReport):
    """What came of it, and which failpoints were reached."""

    failpoints: list[str] = field(default_factory=list)


class Chaos(TroubledRun):
    """A run that is going on. Leaving the `with` block ends everything that it started."""

    def __init__(self, plan: ChaosPlan, console: Console) -> None:
        self.plan = plan
        self.ports = Ports(Ports.from_env().base + PORT_OFFSET)
        layout = Layout.of_project()
        self.folder = layout.home / "chaos" / str(self.ports.base)
        self.broker = KafkaServer(layout.in_own_partition(self.folder / "broker"), self.ports)
        self.broker.stop()  # what a run that was killed left
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.kafka = f"127.0.0.1:{self.ports.kafka}"
        super().__init__(Workers(self.folder, self._program, self._variables), console, MAX_WORKERS)
        self.failpoints: list[str] = []
        self.switches, self.sets = rules.Switches(), 0
        self.quiet = rules.quiet_minutes(datetime.now(UTC))
        self.paused: set[str] = set()
        self.controls = 0

    def __enter__(self) -> Self:
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.broker.stop()

    # processes -------------------------------------------------------------------------------------------------------

    def _program(self, slot: int) -> WarmProgram:
        if self.plan.control:
            return WarmProgram("chaos.worker", f"{ALONE}from chaos.worker import main; main()", (str(slot),))
        source = f"{ALONE}from cli.main import main; main()"
        return WarmProgram("streams.app", source, ("run", "streams", "--slot", str(slot)))

    def _variables(self, slot: int) -> dict[str, str]:  # noqa: ARG002 - the program has the slot
        return {
            "EBBTIDE_KAFKA": self.kafka,
            "EBBTIDE_WEB_PORT": str(self.ports.web),
            "EBBTIDE_DATA_DIR": str(self.folder / "faust"),
            "CHAOS_MISTAKE": self.plan.control,
        }

    def progress(self) -> str:
        """How far the topics are."""
        try:
            with Progress(self.kafka) as progress:
                counts = {t: sum(progress.ends(t).high.values()) for t in (EVENTS.name, COMMANDS.name)}
                lag = progress.lag(StreamSettings().streams_group, INPUTS)
        except (KafkaException, KafkaAway):
            return "the broker does not say"
        workers = ",".join(map(str, sorted(self.crew.processes)))
        return f"events {counts[EVENTS.name]:,}  lag {lag:,}  commands {counts[COMMANDS.name]:,}  workers {workers}"

    # what happens ----------------------------------------------------------------------------------------------------

    def apply_rules(self) -> None:
        """Publishes the set as the switches are now."""
        self.sets += 1
        with TemporaryDirectory() as folder:  # not below .local: what is hidden is not read
            rules.write_folder(Path(folder), self.switches, self.quiet)
            apply_folder(self.kafka, read_folder(Path(folder)), "chaos")

    def _freeze(self, each: Trouble) -> None:
        super()._freeze(each)
        self.pass_time(time.monotonic() + each.seconds)

    def _broker(self, each: Trouble) -> None:
        if each.dice < 0.4:
            self.broker.kill()
        else:
            self.broker.stop()
        self.pass_time(time.monotonic() + each.seconds)
        self.broker.start()

    def _failpoint(self, each: Trouble) -> None:
        """Starts a worker anew that ends itself at a place; waits until it has, or the place is not reached."""
        slot, name = self.chosen(each), each.detail.partition(":")[0]
        self.crew.kill(slot)
        process = self.crew.start(slot, EBBTIDE_FAILPOINT=each.detail)
        end_s = time.monotonic() + trouble.STRIKES_WITHIN_S
        while time.monotonic() < end_s and not self._has_struck(slot, process, name):
            time.sleep(0.1)
        struck = self._has_struck(slot, process, name)
        self.failpoints.append(name if struck else f"{name} was not reached")

    def _has_struck(self, slot: int, process: WorkerProcess, name: str) -> bool:
        if name == "abort_before_commit":
            return b"TRANSACTION_ABORTABLE" in self.crew.log(slot).read_bytes()[-20_000:]
        return process.poll() is not None

    def _rules(self, each: Trouble) -> None:
        self.switches = self.switches.turned(Random(each.dice))
        self.apply_rules()

    def _control(self, each: Trouble) -> None:
        chance = Random(each.dice)
        scope = chance.choice(sorted(self.paused)) if self.paused and chance.random() < 0.7 else chance.choice(SCOPES)
        self.paused ^= {scope}
        self.controls += 1
        switch = Control(
            number=self.controls, scope=scope, paused=scope in self.paused, by="chaos", at=datetime.now(UTC)
        )
        with Publisher(self.kafka) as publisher:
            publisher.send(CONTROL.name, scope.encode(), encode(switch))

    # the whole -------------------------------------------------------------------------------------------------------

    def play(self) -> StreamChaosReport:
        """Plays the whole run and audits it."""
        plan, kept = self.plan, self.folder / "received.jsonl"
        seconds: dict[str, float] = {}
        ensure_topics(self.kafka, plan.partitions)
        self.apply_rules()
        responder = self.start_client("chaos.responder", *self._common_options, "--kept", kept)
        self.began_s = time.monotonic()
        if plan.control:
            self._die_again_and_again()
        else:
            self._suffer()
        seconds["trouble"] = time.monotonic() - self.began_s
        settled = self._settle(responder)
        seconds["settling"] = time.monotonic() - self.began_s - seconds["trouble"]
        report = self._audit(settled, kept)
        report.seconds = {**seconds, "audit": time.monotonic() - self.began_s - sum(seconds.values())}
        return report

    def _suffer(self) -> None:
        """Runs the feed, and all trouble of the schedule."""
        for slot in range(self.plan.workers):
            self.start(slot)
        self.crew.wait_until_recovered(within_s=RECOVERED_WITHIN_S)
        self.began_s = time.monotonic()
        feed = self._feed(self.plan.events / self.plan.seconds)
        for each in trouble.schedule(self.plan.seed, self.plan.seconds, trouble.amounts(self.plan.minutes)):
            self.pass_time(self.began_s + each.at_s)
            self.happens(each)
        self.finish_feed(feed)

    def _die_again_and_again(self) -> None:
        """For a control: all events are published, and one worker after the other dies where the mistake shows.

        Before that all users are known and every partition has offsets: a worker refuses state without offsets.
        """
        self.finish_feed(self._feed(1e9, "--users", CONTROL_USERS, events=KNOWN_BY))
        self.start(0)
        self._wait_for_lag(0)
        self.stop(0)
        self.finish_feed(self._feed(1e9, "--users", CONTROL_USERS))
        chance = Random(self.plan.seed)
        for number in range(DEATHS):
            where = {"EBBTIDE_FAILPOINT": f"after_commit:{chance.choice(SPLIT_DEATHS)}"}
            process = self.crew.start(0, **(where if self.plan.control == "split" else {"CHAOS_DIES": "1"}))
            self.happened[f"ended with {process.wait(RECOVERED_WITHIN_S)}"] += 1
            self.say(f"died for the {number + 1}. time")
        self.start(0)

    @property
    def _common_options(self) -> tuple[object, ...]:
        return ("--kafka", self.kafka, "--partitions", self.plan.partitions, "--seed", self.plan.seed)

    def _feed(self, per_s: float, *more: object, events: int | None = None) -> subprocess.Popen[bytes]:
        count = events or self.plan.events
        return self.start_client("chaos.feed", *self._common_options, "--events", count, "--per-s", per_s, *more)

    def _settle(self, responder: subprocess.Popen[bytes]) -> Settled:
        """Waits until all inputs are committed and timers had their time, then stops the workers, all at once: what a
        snapshot holds that was begun from then on, nothing changes any more."""
        self.say("the feed has ended")
        self.crew.wait_until_recovered(within_s=RECOVERED_WITHIN_S)
        self._wait_for_lag(0)
        self.pass_time(time.monotonic() + self.plan.drain_s)
        assert responder.stdin is not None
        responder.stdin.write(b"quiet\n")
        responder.stdin.flush()
        self.pass_time(time.monotonic() + 1)
        self.crew.wait_until_recovered(within_s=RECOVERED_WITHIN_S)
        self._wait_for_lag(0)
        settled_ms = time.time_ns() // 1_000_000
        self._wait_for_clocks(settled_ms)
        stopping_ms = time.time_ns() // 1_000_000
        slots = list(self.crew.processes)
        with ThreadPoolExecutor(len(slots)) as pool:
            list(pool.map(self.stop, slots))
        responder.stdin.close()
        if responder.wait(RECOVERED_WITHIN_S):
            raise RuntimeError(f"the responder failed: {(self.folder / 'responder.log').read_text()[-2000:]}")
        return Settled(settled_ms, stopping_ms)

    def _wait_for_clocks(self, instant_ms: int) -> None:
        """Waits until the clock of every partition has passed the instant: then every timer due by then has fired."""
        clocks, end_s = PartitionClocks(self.plan.partitions), time.monotonic() + CLOCKS_WITHIN_S
        while not clocks.have_passed(instant_ms):
            if time.monotonic() > end_s:
                raise RuntimeError(f"not every partition's clock has passed {instant_ms} within {CLOCKS_WITHIN_S:g} s")
            self.pass_time(time.monotonic() + 0.5)
            clocks.read(self.ports.web + slot for slot in self.crew.processes)

    def _wait_for_lag(self, wanted: int) -> None:
        end_s = time.monotonic() + self.plan.settle_within_s
        while True:
            with Progress(self.kafka) as progress:
                lag = progress.lag(StreamSettings().streams_group, INPUTS)
            if lag <= wanted:
                return
            if time.monotonic() > end_s:
                raise RuntimeError(f"{lag} records were not committed within {self.plan.settle_within_s:g} s")
            self.pass_time(time.monotonic() + 0.5)

    def _audit(self, settled: Settled, kept: Path) -> StreamChaosReport:
        self.say("all is committed; the audit begins")
        changelog = f"{StreamSettings().streams_group}-user-state-changelog"
        written = WrittenTopics(self.kafka, self.plan.partitions, changelog, self.folder / "faust", *settled)
        found, commands = audit(written)
        received = Counter(kept.read_bytes().splitlines())
        for value in (received - Counter(commands)) + (Counter(commands) - received):
            found.note("received unlike the topic", value)
        found.compared["commands received live"] += received.total()
        self.happened["aborted records"] = aborted(written)
        self._read_logs()
        return StreamChaosReport(found, self.happened, self.folder, failpoints=self.failpoints)

    def _read_logs(self) -> None:
        for log in self.folder.glob("worker-*.log"):
            text = log.read_text(errors="replace")
            for event in ("recovered", "checkpoint_failed", "process_ends", "record_failed"):
                self.happened[f"logged {event}"] += text.count(f'"event": "{event}"')
