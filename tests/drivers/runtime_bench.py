"""A crew of runtime workers on topics of their own, with an eye on both: what the tests of faults are written with."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from drivers.limits import HANGS_AFTER_S
from drivers.runtime_app import Names
from drivers.runtime_harness import Audit, BrokerReader, Crew, Feed, audit, make_topics

PARTITIONS = 4
EVENTS = 4_000


@dataclass
class Bench:
    """The topics of one test, a crew, and an eye on both."""

    kafka: str
    names: Names
    crew: Crew
    reader: BrokerReader

    def feed(self, events: int = EVENTS, per_s: float = 1e9, seed: int = 1) -> None:
        """Writes events, by default all at once."""
        feed = Feed(self.kafka, self.names, events, per_s, seed, users=300)
        feed.start()
        feed.join()

    def wait(self, until: Callable[[], object], what: str, within_s: float = HANGS_AFTER_S) -> None:
        """Waits until something holds, with the workers' logs if it never does."""
        end = time.monotonic() + within_s
        while not until():
            logs = "\n".join(map(self.crew.tail, self.crew.processes))
            assert time.monotonic() < end, f"never: {what}\n{logs}"
            time.sleep(0.1)

    def lag(self) -> int:
        """Records not yet committed; more than there are while the broker does not say."""
        lag = self.reader.lag()
        return 10**9 if lag is None else lag

    def size(self, topic: str) -> int:
        """How many offsets the topic has used: records, aborted ones too, and control records."""
        return self.reader.size(topic)

    def wait_done(self, within_s: float = HANGS_AFTER_S) -> None:
        """Waits until all is committed and no timer is left; starts workers again that ended by themselves."""
        self.wait(lambda: self.crew.revive() or self.lag() == 0, "all is committed", within_s)
        self.wait(lambda: self.crew.revive() or self._quiet() == self.users(), "every user's timer has fired", within_s)

    def _quiet(self) -> int:
        ids = [orjson.loads(m.value())["id"] for m in self.reader.all(self.names.commands)]
        return len({name.split("-")[2] for name in ids if name.startswith("quiet-")})

    def users(self) -> int:
        return len({m.key() for m in self.reader.all(self.names.events) if b"poison" not in m.value()})

    def audit(self) -> Audit:
        """What the workers left, compared with what the journal says."""
        return audit(self.reader, self.names, PARTITIONS)


@contextmanager
def running_bench(kafka: str, prefix: str, folder: Path, **variables: str) -> Iterator[Bench]:
    """A bench with its topics made; every worker is ended with it."""
    names = Names(prefix)
    make_topics(kafka, names, PARTITIONS)
    reader = BrokerReader(kafka, names, PARTITIONS)
    with Crew(kafka, prefix, PARTITIONS, folder, **variables) as crew:
        yield Bench(kafka, names, crew, reader)
    reader.close()
