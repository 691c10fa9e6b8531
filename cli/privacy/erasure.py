"""Erases a person: in each place, in an order in which a run that was killed can be taken up by another.

First the keyed hash, from when on nothing of the person is kept any more. Then the rows; then the tombstones, by which
stream workers drop the state; then what was on its way; then the compaction that makes topics forget; then the files.
What links visits to the person goes last, because another run finds the visits by it. A step does only what is left.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path

from cli.environment import Environment
from cli.privacy import lake_erasure, readers, retention, snapshot_erasure
from cli.privacy.people import PersonStores, find_person
from cli.privacy.readers import Passage
from cli.privacy.receipt import ErasureReceipt, PlaceEnd, PlaceReceipt
from cli.privacy.table_erasure import TableErasure
from cli.privacy.topic_erasure import TopicErasure
from cli.step_printer import StepPrinter
from infra.kafka.progress import Progress
from infra.postgres.personal_tables import PersonKeys
from schemas.errors import UserError
from schemas.people import PersonHasher
from schemas.topics import COMMANDS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from senders.policy.recipients import AddressHasher
from senders.queue.intake import CommandIntake
from senders.recording.recorder import Recorder
from streams.decisions.evaluate import state_changelog
from streams.settings import StreamSettings
from web.profiles import erasures

LOCK = 7_306_122
"""The advisory lock of erasures: one puts settings of topics back while another needs them hasty."""
KNOWN_EVERYWHERE_S = 2 * erasures.REFRESH_S + 0.5
"""After this every HTTP process knows whom it must drop, also if it was in the middle of a call."""


class ErasureBusy(UserError):
    """Another erasure runs."""


@dataclass(frozen=True, slots=True)
class ErasureRun:
    """Where to erase. It waits for workers and for Kafka until `until_s`, by the monotonic clock."""

    environment: Environment
    stores: PersonStores
    printer: StepPrinter
    until_s: float
    lakes: Sequence[Path] = ()

    def erase(self, user_ids: Sequence[str], now: datetime) -> ErasureReceipt:
        """Erases these people, and returns what became of each place. Raises ErasureBusy and OtherErasureKey."""
        hasher = PersonHasher(self.environment.shared_erasure_key.encode())
        with self._alone():
            of_addresses = AddressHasher(self.environment.suppression_key.encode())
            persons = [find_person(self.stores, of_addresses, user_id) for user_id in user_ids]
            since = min(erasures.remember(self.stores.ledger, hasher, each.ids, now) for each in persons)
            places, known = self._erase(reduce(or_, persons), time.monotonic() + KNOWN_EVERYWHERE_S)
        people = [hasher(user_id).hex() for user_id in user_ids]
        return ErasureReceipt(people, since, datetime.now(UTC), known, places)

    def _erase(self, person: PersonKeys, known_s: float) -> tuple[list[PlaceReceipt], bool]:
        kafka, changelog = self.environment.kafka, state_changelog(StreamSettings().streams_group)
        tables = TableErasure(self.stores, person)
        with TopicErasure(kafka, changelog, person.ids) as topics:
            with self.printer.step("tables"):
                tables.run()
            with self.printer.step("profiles and states"):
                topics.remove()
                topics.wait_for_workers(self.until_s)
            with self.printer.step("what is on its way"):
                late = self._wait_for_readers(person, known_s)
                tables.run()
                topics.remove_again(self.until_s)
            with self.printer.step("compaction"):
                topics.forget(self.until_s)
            with self.printer.step("snapshots"):
                files = snapshot_erasure.wait_for_snapshots(
                    self.environment.data_dir, changelog, person.ids, self.until_s, datetime.now(UTC)
                )
            with self.printer.step("topics with retention") as step:
                expiring = [*retention.receipts(kafka, person.ids, datetime.now(UTC), step)]
            lakes = [*lake_erasure.erase_from(self.lakes, person.ids, datetime.now(UTC))]
            if not (late or topics.waits):
                tables.finish()
            now = datetime.now(UTC)
            places = [
                *tables.receipts(now),
                *topics.receipts(now),
                files,
                snapshot_erasure.elsewhere(now),
                *lakes,
                *expiring,
            ]
        known = bool(tables.erased or topics.found) or any(each.end is PlaceEnd.EXPIRES for each in expiring)
        return [*places, *map(_late_receipt, late)], known

    def _wait_for_readers(self, person: PersonKeys, known_s: float) -> list[Passage]:
        """Waits until readers have passed all that was written before everybody dropped the person."""
        time.sleep(max(0.0, known_s - time.monotonic()))
        streams = StreamSettings().streams_group
        groups = [(streams, EVENTS.name), (streams, PROFILES.name), (CommandIntake.group, COMMANDS.name)]
        groups += [(Recorder.group, DECISIONS.name), (Recorder.group, OUTCOMES.name)]
        with Progress(self.environment.kafka) as progress:
            return readers.wait_until_passed(progress, readers.passages(progress, groups, person.ids), self.until_s)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        connection = self.stores.ledger
        [[alone]] = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchall()
        if not alone:
            raise ErasureBusy("another erasure runs; run this again when it has ended")
        try:
            yield
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _late_receipt(late: Passage) -> PlaceReceipt:
    done = f"group {late.group} has not read it to where it ended"
    place = f"topic {late.topic}, partition {late.partition}"
    return PlaceReceipt(place, PlaceEnd.PENDING, done, "the group's offsets", None)
