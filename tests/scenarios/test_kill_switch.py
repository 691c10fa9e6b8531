"""The kill switch on a running worker: quick, durable, and never back."""

import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, islice

import pytest
from confluent_kafka.admin import AdminClient
from drivers import command_line
from drivers.running_senders import wait_until
from drivers.whole_pipeline import PARTITIONS, THANKS, Pipeline, orders, pipeline

from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from infra.kafka.topic_setup import ensure_topics
from schemas.codec import decode, encode
from schemas.decisions import Decision
from schemas.journal import Checkpoint
from schemas.rules import Control
from schemas.topics import COMMANDS, CONTROL, DECISIONS, EVENTS, JOURNAL
from schemas.vocabulary import DecisionOutcome, Reason

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

EFFECT_S = 2.0
EVERY_S = 0.01


def test_a_pause_is_in_effect_within_two_seconds_survives_a_kill_and_no_older_one_lifts_it(
    servers, database_url, tmp_path, capsys
):
    with pipeline(servers.kafka, database_url, tmp_path) as run, orders_flowing(run):
        run.apply(THANKS)
        run.start_streams()
        wait_until(lambda: sent(run), "mails are decided")

        first = ebbtide(run, "pause", "trigger/thanks")
        paused_s = time.time()
        wait_until(lambda: dropped_after(run, paused_s + EFFECT_S), "orders go on, and are dropped")
        late_s = max(sent(run)) - paused_s
        with capsys.disabled():
            sys.stdout.write(f"\nthe last mail was decided {late_s * 1000:.0f} ms after `ebbtide pause` returned\n")
        assert late_s < EFFECT_S

        run.end_streams(signal.SIGKILL)
        killed_s = time.time()
        run.start_streams()
        wait_until(lambda: dropped_after(run, killed_s), "the next worker drops too")
        assert max(sent(run)) < killed_s

        for wrong in (None, b"{", encode(Control(number=first, scope="global", paused=False, at=datetime.now(UTC)))):
            with Publisher(run.kafka) as publisher:
                publisher.send(CONTROL.name, b"global", wrong)
        wait_until(lambda: logged(run, "rule_record_ignored") == 3, "each wrong switch is logged once")

        lose_the_switches(run)
        with Publisher(run.kafka) as publisher:
            lifted = Control(number=1, scope="trigger/thanks", paused=False, at=datetime.now(UTC))
            publisher.send(CONTROL.name, b"trigger/thanks", encode(lifted))
        wait_until(lambda: logged(run, "is not above") == 2, "an older switch is refused")

        second = ebbtide(run, "resume", "trigger/thanks")
        assert second > first
        resumed_s = time.time()
        wait_until(lambda: max(sent(run)) > resumed_s, "mails are decided again")
        applied = [number for numbers in applied_in_order(run).values() for number in numbers]
        assert set(applied) == {0, first, second}
        for numbers in applied_in_order(run).values():
            assert numbers == sorted(numbers)


@contextmanager
def orders_flowing(run: Pipeline) -> Iterator[None]:
    """One order of a new customer each hundredth of a second, until left."""
    over = threading.Event()

    def flow() -> None:
        with Publisher(run.kafka) as publisher:
            for number in count():
                if over.wait(EVERY_S):
                    return
                for event in orders([f"customer-{number}"], datetime.now(UTC), f"order-{number}"):
                    publisher.send(EVENTS.name, str(event.user_id).encode(), encode(event))

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sent(run: Pipeline) -> list[float]:
    """When each command was written, in seconds since the epoch."""
    return [message.timestamp()[1] / 1000 for message in read_all(run.kafka, COMMANDS.name)]


def dropped_after(run: Pipeline, moment_s: float) -> bool:
    """Whether a hundred decisions taken after that moment say that their rule was paused."""
    later = (m.value() for m in read_all(run.kafka, DECISIONS.name) if m.timestamp()[1] / 1000 > moment_s)
    dropped = (d for d in (decode(Decision, value) for value in later) if d.reason is Reason.MODE)
    return len(list(islice((d for d in dropped if d.outcome is DecisionOutcome.DROP), 100))) == 100


def applied_in_order(run: Pipeline) -> dict[int, list[int]]:
    """The control numbers that the journal names, by partition."""
    found: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
    for message in read_all(run.kafka, JOURNAL.name):
        found[message.partition()].append(decode(Checkpoint, message.value()).control)
    return found


def lose_the_switches(run: Pipeline) -> None:
    """The topic deleted and made anew, empty."""
    admin = AdminClient({"bootstrap.servers": run.kafka})
    admin.delete_topics([CONTROL.name])[CONTROL.name].result(30)
    wait_until(lambda: CONTROL.name not in admin.list_topics(timeout=10).topics, "the topic is gone")
    ensure_topics(run.kafka, PARTITIONS)


def logged(run: Pipeline, what: str) -> int:
    """How many lines of the worker's log say it."""
    return (run.directory / "streams.log").read_text().count(what)


def ebbtide(run: Pipeline, *arguments: str) -> int:
    """The number under which the command did it."""
    done = command_line.ebbtide(*arguments, EBBTIDE_KAFKA=run.kafka)
    assert done.returncode == 0, done.stderr
    found = re.search(r"number (\d+)", done.stdout)
    assert found is not None
    return int(found[1])
