"""The parts of `make bench-streams`: what each measures, on one broker that each of them empties."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from perf import ebbtide, latency, results, scale, sweeps, throughput
from perf.broker import Broker
from perf.cpu_placement import CpuPlacement
from perf.dense_workloads import AllCountWorkload, EveryEventWorkload
from perf.goals import STEADY_PER_S
from perf.peers.contenders import peer_versions, peers
from perf.rulesets import EVERY_EVENT, GROWN, ONE, TWENTY, TWENTY_ALL_COUNT, BenchRules
from perf.throughput import CONTENDERS, EVERY_EVENT_CONTENDERS, Contender
from perf.watch import MeasurementFailed
from perf.workloads import DISTRIBUTIONS, Distribution, Workload

PARTITIONS = 16
EVENTS, EVERY_EVENT_EVENTS = 1_000_000, 2_000_000
"""How many events a contender gets by default. With `every-event` a user's state grows with each, so it gets more."""
SWEEP_SHARE = 0.3
"""A point of a sweep has this share of the events."""
LATENCY_S, QUICK_LATENCY_S = 40, 15
HISTORY_EVENTS = 80
"""Events of each user before the clock starts, on average: a state remembers the ids of 64."""
HISTORY_SEED = 1_000
"""Added to the seed: no event of the history has the id of one that is measured."""
HISTORY_SHARE = 5
"""A history is fed for one user in five, to save time."""
PARTS = (*CONTENDERS, "every-event", "twenty-all-count", "grown-state", "latency", "scale", "sweeps", "recovery")
PROFILED: dict[str, tuple[BenchRules, type[Workload]]] = {
    "one-rule": (ONE, Workload),
    "twenty-rules": (TWENTY, Workload),
    "every-event": (EVERY_EVENT, EveryEventWorkload),
    "twenty-all-count": (TWENTY_ALL_COUNT, AllCountWorkload),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and how much. `events` is None if each part has its own number."""

    events: int | None
    users: int
    seed: int
    quick: bool
    parts: tuple[str, ...]
    placement: CpuPlacement
    peers: bool = False

    @property
    def distributions(self) -> tuple[Distribution, ...]:
        """Both, or only the even one for a quick run."""
        return DISTRIBUTIONS[:1] if self.quick else DISTRIBUTIONS

    def workload(
        self,
        kind: type[Workload] = Workload,
        *,
        events: int | None = None,
        distribution: Distribution = "uniform",
        span_s: int = 10,
    ) -> Workload:
        """Events to feed, with profiles from before now; as many as were asked for, unless `events` says it."""
        events = events or self.events or (EVERY_EVENT_EVENTS if kind is EveryEventWorkload else EVENTS)
        return kind(events, self.users, distribution, self.seed, span_ms=span_s * 1000).from_now()


class StreamBenchmark:
    """One run: its parts, in order, each noted in `run` when it is done."""

    def __init__(self, options: Options, broker: Broker, report: Callable[[str], None]) -> None:
        self._options = options
        self._broker = broker
        self._report = report
        settings = {
            "events": options.events or EVENTS,
            "events_where_each_counts": options.events or EVERY_EVENT_EVENTS,
            "users": options.users,
            "seed": options.seed,
            "partitions": PARTITIONS,
            "placing": str(options.placement),
            "quick": options.quick,
            "parts": list(options.parts),
            "peers": options.peers,
        }
        self._peers: Sequence[Contender] = peers() if options.peers else ()
        self.run = results.new_run(settings)
        if options.peers:
            self.run.versions |= peer_versions()

    def measure(self) -> None:
        """All parts that were asked for."""
        if any(part in CONTENDERS for part in self._options.parts):
            self._or_note("throughput", self._throughput)
        others = {
            "every-event": self._every_event,
            "twenty-all-count": self._twenty_all_count,
            "grown-state": self._grown_state,
            "latency": self._latency,
            "scale": self._scale,
            "sweeps": self._sweeps,
        }
        for part, measure in others.items():
            if part in self._options.parts:
                self._or_note(part, measure)

    def profile(self, part: str) -> None:
        """One worker under the profiler; notes nothing."""
        rules, kind = PROFILED[part]
        workload = self._options.workload(kind)
        found = ebbtide.measure_alone(self._broker, workload, PARTITIONS, rules, self._report, profiled=True)
        self._report(throughput.in_words(found))

    def _or_note(self, part: str, measure: Callable[[], None]) -> None:
        """Runs a part. A failure is recorded and does not affect the other parts."""
        try:
            measure()
        except MeasurementFailed as failure:
            self._report(f"{part} failed: {failure}")
            self.run.failures.append(f"{part}: {failure}")

    def _throughput(self) -> None:
        contenders = [CONTENDERS[part] for part in self._options.parts if part in CONTENDERS]
        self._compare(Workload, contenders)

    def _every_event(self) -> None:
        self._compare(EveryEventWorkload, (*EVERY_EVENT_CONTENDERS, *self._peers))

    def _twenty_all_count(self) -> None:
        self._compare(AllCountWorkload, (TWENTY_ALL_COUNT,))

    def _compare(self, kind: type[Workload], contenders: Sequence[Contender]) -> None:
        for distribution in self._options.distributions:
            workload = self._options.workload(kind, distribution=distribution)
            for each in throughput.measure(self._broker, workload, PARTITIONS, contenders, self._report):
                self.run.throughput.append(each)

    def _grown_state(self) -> None:
        for distribution in self._options.distributions:
            workload = self._options.workload(AllCountWorkload, distribution=distribution)
            workload = replace(workload, users=max(10, workload.users // HISTORY_SHARE))
            history = replace(
                workload,
                events=workload.users * HISTORY_EVENTS,
                distribution="uniform",
                seed=workload.seed + HISTORY_SEED,
            )
            self._report(f"{GROWN.name}, {workload.name}, {distribution}")
            measured = ebbtide.measure_alone(self._broker, workload, PARTITIONS, GROWN, self._report, history=history)
            self._report(throughput.in_words(measured))
            self.run.throughput.append(measured)

    def _latency(self) -> None:
        seconds = QUICK_LATENCY_S if self._options.quick else LATENCY_S
        for rate in (STEADY_PER_S, self._half_load()):
            workload = self._options.workload(events=round(rate * seconds), span_s=seconds)
            self.run.latency.append(latency.measure(self._broker, workload, PARTITIONS, self._report))

    def _half_load(self) -> float:
        """Half of the rate of one rule, which is measured first if necessary."""
        rates = [each.events_per_s for each in self.run.throughput if each.name == ONE.name]
        if not rates:
            self._report("the load first: one rule")
            workload = self._options.workload()
            rates = [ebbtide.measure_alone(self._broker, workload, PARTITIONS, ONE, self._report).events_per_s]
        if rates[0] is None:
            raise MeasurementFailed("half of an unknown load: too few events to measure the throughput; use more")
        return rates[0] / 2

    def _scale(self) -> None:
        for workers in scale.WORKERS:
            self._report(scale.NAMES[workers])
            workload = self._options.workload()
            point = scale.measure(self._broker, workload, PARTITIONS, workers, self._report)
            self._report(throughput.in_words(point))
            self.run.scale.append(point)

    def _sweeps(self) -> None:
        events = round((self._options.events or EVENTS) * SWEEP_SHARE)
        smaller = self._options.users / sweeps.BASE_USERS
        base = self._options.workload(events=events)
        for name, point in sweeps.measure(self._broker, base, smaller, self._report):
            self._report(throughput.in_words(point))
            self.run.sweeps.setdefault(name, []).append(point)

    def recover(self) -> None:
        """The recovery, by its own program, which has a broker of its own."""
        self._or_note("recovery", self._recover)

    def _recover(self) -> None:
        users = self._options.users * 10
        self._report(f"recovery of {users:,} users")
        command = [sys.executable, "-m", "perf.bench_recovery", "--json", "--users", str(users)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise MeasurementFailed(f"its program ended with {done.returncode}")
        self.run.recovery = orjson.loads(done.stdout.splitlines()[-1])
