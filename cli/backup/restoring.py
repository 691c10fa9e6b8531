"""Restores a backup into new databases: the tables, the erasures since, and what Kafka knows of the time after it.

Delivery's ledger learns from `outcomes` which commands have ended since, and admits the commands since; of those that
did not end, nobody knows whether their mails had begun. Then readers go on where the backup found them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from confluent_kafka import Message
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from cli.backup import folder as folders
from cli.backup import kafka_state
from cli.backup.folder import BackupManifest, WrongBackup
from cli.backup.making import LEDGER, databases
from cli.environment import Environment
from cli.privacy.people import erased_and_known, find_person, open_stores
from cli.privacy.table_erasure import TableErasure
from cli.step_printer import ProgressStep, StepPrinter
from infra.kafka.topic_setup import ensure_topics
from infra.postgres import table_copy
from infra.postgres.address import shown
from infra.postgres.erased_people import OtherErasureKey, require_key
from infra.postgres.migrate import migrate
from schemas import codec
from schemas.codec import DecodeError
from schemas.commands import SendCommand
from schemas.outcomes import Outcome
from schemas.people import PersonHasher
from schemas.topics import COMMANDS, OUTCOMES
from senders.policy.recipients import AddressHasher
from senders.queue import restoration
from senders.queue.ledger import Admission
from senders.queue.restoration import EndedCommand

T = TypeVar("T")

SENDERS = "ebbtide-senders"
_IN_USE = ("ledger_ids", "recipients", "suppressions", "decisions", "deliveries", "profiles", "audit_log")
_PARTITIONS = (
    "SELECT ledger_add_partitions((%s::timestamptz - interval '40 days')::date, (now() + interval '7 days')::date)"
)
"""From before the oldest rows that a backup can have (35 days)."""


@dataclass(slots=True)
class RestoreReport:
    """What a restore did."""

    rows_of: str
    tables: int = 0
    ended: int = 0
    """Commands that ended after the backup."""
    admitted: int = 0
    """Commands that came after the backup, and did not end."""
    in_doubt: int = 0
    waiting: int = 0
    erased: int = 0
    """People whose rows were erased again."""


class Restoration:
    """One restore."""

    def __init__(
        self, environment: Environment, folder: Path, printer: StepPrinter, erasures: Path | None = None
    ) -> None:
        """`erasures` has a newer list of erased people, which replaces that of the backup. Raises WrongBackup."""
        self._environment, self._folder, self._printer = environment, folder, printer
        self.manifest = folders.read(folder)
        self._list_folder = erasures or folder
        self._listed = folders.read(erasures) if erasures else self.manifest
        self._urls = databases(environment)
        if self._urls.keys() != self.manifest.databases.keys():
            there = "a database of its own" if len(self.manifest.databases) > 1 else "no database of its own"
            raise WrongBackup(f"{folder}: in this backup the ledger has {there}; set EBBTIDE_LEDGER_URL accordingly")
        self.report = RestoreReport(manifest_time(self.manifest))

    def check(self) -> None:
        """Raises WrongBackup, WorkersRun or OtherErasureKey if it cannot be restored here. Changes nothing."""
        if self.manifest.erasures is None or len(self.manifest.databases[LEDGER].tables) == 1:
            raise WrongBackup(f"{self._folder}: only a list of erased people; name a backup, and this by --erasures")
        with self._printer.step("checksums", len(self.manifest.digests)) as step:
            folders.require_whole(self._folder, self.manifest, step.at)
        self._check_erasures()
        kafka_state.require_idle(self._environment.kafka, kafka_state.OF_TABLES)
        if self._is_elsewhere():
            kafka_state.require_new_topics(self._environment.kafka, self.manifest.partitions)
        for url in self._urls.values():
            _require_new(url)

    def tables(self) -> None:
        """Restore the tables of each database, and bring them up to this version."""
        for name, url in self._urls.items():
            migrate(url, self.manifest.migrations)
            copy = self.manifest.databases[name]
            with self._printer.step(f"database {name}", len(copy.tables)) as step, _connected(url) as connection:
                if name == LEDGER:
                    connection.execute(_PARTITIONS, [self.manifest.made_at])
                for number, table in enumerate(copy.tables):
                    step.at(number, table.name)
                    table_copy.copy_in(connection, table, self._folder / name)
                table_copy.set_sequences(connection, copy.sequences)
                self.report.tables += len(copy.tables)
            migrate(url)

    def catch_up(self, *, hold: bool, lost_at: datetime | None) -> None:
        """Bring the ledger up to what Kafka knows, and let readers go on. `hold`: put in doubt what did not end.

        Commands that were written after `lost_at` have begun in no case: delivery reads them when it starts.
        """
        kafka = self._environment.kafka
        if self._is_elsewhere():
            self._begin_anew(kafka, hold=hold)
            return
        go_on = dict(kafka_state.ends(kafka, COMMANDS.name))
        with _connected(self._urls[LEDGER]) as ledger:
            with self._printer.step("mails since the backup") as step:
                self._note_ended(ledger, step)
            with self._printer.step("commands since the backup") as step:
                self._admit(ledger, go_on, lost_at, step)
            self._judge_unanswered(ledger, hold=hold)
        kafka_state.commit(kafka, SENDERS, {COMMANDS.name: go_on})
        for group, offsets in self.manifest.groups.items():
            if group != SENDERS:
                kafka_state.commit(kafka, group, offsets)

    def erase(self) -> None:
        """Erase the rows of people who were erased, by the list of the backup or by the newer one."""
        hasher = PersonHasher(self._environment.erasure_key.encode())
        self._replace_erasures()
        with self._printer.step("erased people") as step, open_stores(self._environment) as stores:
            require_key(stores.ledger, hasher)
            of_addresses = AddressHasher(self._environment.suppression_key.encode())
            for user_id in erased_and_known(stores, hasher):
                erasing = TableErasure(stores, find_person(stores, of_addresses, user_id))
                erasing.run()
                erasing.finish()
                self.report.erased += 1
                step.at(self.report.erased, f"{self.report.erased:,} erased")

    def _is_elsewhere(self) -> bool:
        return kafka_state.cluster_id(self._environment.kafka) != self.manifest.cluster

    def _check_erasures(self) -> None:
        folder, listed = self._list_folder, self._listed
        if listed is not self.manifest:
            folders.require_whole(folder, listed, lambda _: None)
        if listed.erasures is None or listed.made_at < self.manifest.made_at:
            raise WrongBackup(f"{folder}: no list of erased people that is newer than the backup")
        keys = folders.erasure_keys(folder / LEDGER, listed.erasures)
        if keys and keys != {PersonHasher(self._environment.erasure_key.encode()).key_id}:
            raise OtherErasureKey

    def _replace_erasures(self) -> None:
        table = self._listed.erasures
        if table is not None and self._listed is not self.manifest:
            with _connected(self._urls[LEDGER]) as ledger:
                table_copy.copy_in(ledger, table, self._list_folder / LEDGER)

    def _note_ended(self, ledger: Connection[Any], step: ProgressStep) -> None:
        records = kafka_state.records_since(self._environment.kafka, OUTCOMES.name, self.manifest.ends[OUTCOMES.name])
        ended = (each for record in records if (each := _ended(record)) is not None)
        for batch in _batches(ended, restoration.BATCH):
            self.report.ended += restoration.note_ended(ledger, batch)
            step.at(self.report.ended, f"{self.report.ended:,} ended")

    def _admit(
        self, ledger: Connection[Any], go_on: dict[int, int], lost_at: datetime | None, step: ProgressStep
    ) -> None:
        """Admit commands, and lower the offsets to go on at to those of the first that were written later."""
        since = self.manifest.groups[SENDERS][COMMANDS.name]
        records = kafka_state.records_since(self._environment.kafka, COMMANDS.name, since)
        early = (record for record in records if not _is_later(record, go_on, lost_at))
        admissions = (each for record in early if (each := _admission(record)) is not None)
        for batch in _batches(admissions, restoration.BATCH):
            self.report.admitted += restoration.admit(ledger, batch)
            step.at(self.report.admitted, f"{self.report.admitted:,} waiting")

    def _judge_unanswered(self, ledger: Connection[Any], *, hold: bool) -> None:
        self.report.in_doubt = restoration.put_in_doubt(ledger) if hold else 0
        self.report.waiting = restoration.waiting(ledger)

    def _begin_anew(self, kafka: str, *, hold: bool) -> None:
        """On another cluster: publish what the backup has, and let all readers begin at the beginning.

        It has no outcomes that say which commands have ended since.
        """
        with self._printer.step("topics"):
            ensure_topics(kafka, self.manifest.partitions)
            for topic in kafka_state.WHOLE:
                kafka_state.load_topic(kafka, topic, self._folder)
        with _connected(self._urls[LEDGER]) as ledger:
            ledger.execute("DELETE FROM web_progress")
            ledger.execute("DELETE FROM recipients_progress")
            ledger.execute("INSERT INTO web_outbox (user_id, bulk) SELECT user_id, true FROM profiles ORDER BY user_id")
            self._judge_unanswered(ledger, hold=hold)


def manifest_time(manifest: BackupManifest) -> str:
    """When the backup was made."""
    return f"{manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"


def _is_later(record: Message, go_on: dict[int, int], lost_at: datetime | None) -> bool:
    """Whether a record was written after that; notes its offset as one to go on at."""
    if lost_at is None or record.timestamp()[1] <= lost_at.timestamp() * 1_000:
        return False
    partition, offset = record.partition() or 0, record.offset() or 0
    go_on[partition] = min(go_on.get(partition, offset), offset)
    return True


def _ended(record: Message) -> EndedCommand | None:
    try:
        outcome = codec.decode(Outcome, record.value())
    except DecodeError:  # its readers report it
        return None
    return EndedCommand(record.partition() or 0, outcome) if outcome.kind in restoration.FINAL else None


def _admission(record: Message) -> Admission | None:
    try:
        return Admission(record.partition() or 0, codec.decode(SendCommand, record.value()), record.value() or b"")
    except DecodeError:  # delivery has reported it, or can never send it
        return None


def _batches(items: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    while batch := list(islice(items, size)):
        yield batch


def _require_new(url: str) -> None:
    with _connected(url) as connection:
        for table in _IN_USE:
            [[there]] = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchall()
            if (
                there
                and connection.execute(SQL("SELECT FROM {} LIMIT 1").format(Identifier(table))).fetchone() is not None
            ):
                raise WrongBackup(f"{shown(url)} is in use ({table} has rows): name a new database in the settings")


@contextmanager
def _connected(url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        yield connection
