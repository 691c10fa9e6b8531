"""Schedules of a set that is first published: every resident user has a timer, and a replay decides the same."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from schemas import zones
from schemas.codec import decode, encode, partition_for
from schemas.deadletters import DeadLetter
from schemas.journal import Applied, Checkpoint
from schemas.profiles import Consent, Profile
from schemas.topics import DEAD_LETTERS, DECISIONS, JOURNAL, PROFILES
from streams.batches import BatchStep
from streams.broker import Connection
from streams.checkpoint import Mark, Output
from streams.clock import Run
from streams.counts import FAILED, Counts
from streams.deciding import Deciding
from streams.evaluate import Decider, Record
from streams.journal import CheckpointJournal
from streams.replay import Appended, Replay
from streams.rulefeed import Published
from streams.runtime import Runtime, RuntimeSettings
from triggers.diagnostics import SourceFile
from triggers.evaluator import Evaluator
from triggers.loader import load_rules
from triggers.ruleset import RuleSet

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000
PLAIN = "trigger: hello\npurpose: transactional\non: signed_up\nsend: hello\n"
DAILY = PLAIN + '---\ntrigger: daily\npurpose: marketing\non: {every: day, at: "09:00"}\nsend: hello\n'
ZONES = {"u1": "UTC", "u2": "Europe/Berlin", "u3": None}


def rules(text: str) -> RuleSet:
    return load_rules([SourceFile("rules.yaml", text)], {"hello": "a" * 32})


def profile(user_id: str) -> bytes:
    consent = {"marketing": Consent(granted=True, time=NOW)}
    return encode(Profile(user_id=user_id, zone=ZONES[user_id], consent=consent))


def states_before() -> dict[bytes, bytes]:
    """What users' profiles left under rules without a schedule."""
    decider, found = Decider(Evaluator(rules(PLAIN))), {}
    for user_id in ZONES:
        key = user_id.encode()
        record = Record(PROFILES.name, partition_for(key, 1), 0, key, profile(user_id))
        step = decider.apply(record, 1, None, NOW_MS)
        assert step.state is not None
        found[key] = step.state
    return found


class Worker:
    """A worker that talks to nobody, with one partition whose users are there already."""

    def __init__(self, mark: Mark, text: str, states: dict[bytes, bytes] | None = None) -> None:
        self.runtime = Runtime(
            RuntimeSettings("test", "0", Connection("127.0.0.1:1"), (PROFILES.name,), 1), CheckpointJournal()
        )
        self.deciding = Deciding(self.runtime, "UTC")
        self.step = BatchStep(self.deciding, self.runtime.buffer)
        self.deciding.adopt(Published(rules(text), 2, 0, frozenset()))
        [self.table] = self.runtime.tables()
        self.table.local.load(0, states_before() if states is None else states)
        self.runtime.buffer.begin(object(), {0: ({PROFILES.name: 3}, mark)}, {})
        self.step.loaded(0, mark)
        self.runs = 0

    def tick(self, clock_ms: int) -> None:
        self.runs += 1
        self.step(Run(0, self.runs, (), clock_ms))

    def states(self) -> dict[bytes, bytes]:
        """All users' states, collected as a checkpoint would."""
        self.table.changes()
        return dict(self.table.local.raw(0))


def decisions(outputs: Sequence[Output]) -> list[bytes]:
    return [out.value or b"" for out in outputs if out.topic == DECISIONS.name]


@pytest.fixture
def worker() -> Worker:
    """Before its first run under manifest 2, which has a schedule; manifest 1 had none."""
    return Worker(Mark(NOW_MS, 1, {"manifest": 1, "control": 0}), DAILY)


def test_everybody_has_a_slot_without_any_event(worker: Worker) -> None:
    worker.tick(NOW_MS + 1)
    assert worker.deciding.pending() == {0: 3}
    worker.tick(NOW_MS + 4 * HOUR_MS)
    assert len(decisions(worker.runtime.buffer.outputs)) == 3


def test_users_are_planned_once_a_set_and_again_where_its_schedules_change(worker: Worker) -> None:
    assert worker.deciding.begins(0, NOW_MS) == 3
    assert worker.deciding.begins(0, NOW_MS) == 0
    worker.deciding.adopt(Published(rules(DAILY + "priority: 7\n"), 3, 0, frozenset()))
    assert worker.deciding.begins(0, NOW_MS) == 0
    worker.deciding.adopt(Published(rules(DAILY.replace("09:00", "10:00")), 4, 0, frozenset()))
    assert worker.deciding.begins(0, NOW_MS) == 3


def test_a_worker_that_starts_under_rules_already_applied_plans_nobody_again() -> None:
    worker = Worker(Mark(NOW_MS, 1, {"manifest": 2, "control": 0}), DAILY)
    assert worker.deciding.begins(0, NOW_MS) == 0
    worker = Worker(Mark(NOW_MS, 1, {"manifest": 1, "control": 0}), PLAIN)
    assert worker.deciding.begins(0, NOW_MS) == 0


def test_a_worker_with_other_zone_data_than_the_journals_last_says_so_and_plans_everybody_anew() -> None:
    with capture_logs() as lines:
        worker = Worker(Mark(NOW_MS, 1, {"manifest": 2, "control": 0, "zones": zones.RELEASE - 1}), DAILY)
    before = zones.release_name(zones.RELEASE - 1)
    said = [(line["log_level"], line["before"], line["now"]) for line in lines if line["event"] == "zones_changed"]
    assert said == [("warning", before, zones.VERSION)]
    assert worker.step.ready({"manifest": 2, "zones": zones.RELEASE + 1})  # an older Ebbtide may take over again
    assert worker.deciding.begins(0, NOW_MS) == 3
    with capture_logs() as lines:
        Worker(Mark(NOW_MS, 1, {"manifest": 2, "control": 0, "zones": zones.RELEASE}), DAILY)
    assert not [line for line in lines if line["event"] == "zones_changed"]


def test_the_journal_and_the_offsets_name_the_release_of_the_zone_data(worker: Worker) -> None:
    worker.tick(NOW_MS + 1)
    sealed = worker.runtime.buffer.seal(())
    assert sealed is not None
    [record] = [decode(Checkpoint, out.value) for out in sealed.outputs if out.topic == JOURNAL.name]
    assert record.zones == zones.VERSION
    assert {Mark.decode(offset.metadata).versions["zones"] for offset in sealed.offsets} == {zones.RELEASE}


def test_a_journal_from_before_the_release_was_noted_is_still_read() -> None:
    old = b'{"partition":0,"number":1,"applied":[],"clock":"2026-01-05T00:00:00Z","manifest":1,"control":0}'
    assert decode(Checkpoint, old).zones == ""


def test_a_replay_names_the_other_releases_that_its_journal_was_decided_by() -> None:
    replay, decider = Replay(0, 1, {}), Decider(Evaluator(rules(PLAIN)))
    for release in ("", zones.VERSION, "2019c"):
        checkpoint = Checkpoint(partition=0, number=1, applied=[], clock=NOW, manifest=1, control=0, zones=release)
        replay.follow(checkpoint, decider)
    assert replay.other_zones == {"2019c"}


BIRTHDAY = PLAIN + (
    '---\ntrigger: birthday\npurpose: marketing\non: {date: user.birthday, at: "09:00", yearly: true}\nsend: hello\n'
)


def test_a_date_that_cannot_be_read_is_counted_by_rule_and_cause_at_a_profile_and_at_new_rules() -> None:
    counts: Counts = Counter()
    before, decider = Decider(Evaluator(rules(PLAIN)), counts), Decider(Evaluator(rules(BIRTHDAY)), counts)
    profile = encode(Profile(user_id="u1", attributes={"birthday": "3.5.1990"}))
    record = Record(PROFILES.name, 0, 0, b"u1", profile)
    state = before.apply(record, 1, None, NOW_MS).state
    assert state is not None
    assert counts[FAILED, "birthday", "on.date", "not_a_date"] == 0
    planned = decider.plan(0, "u1", state, NOW_MS)
    assert planned is not None
    assert counts[FAILED, "birthday", "on.date", "not_a_date"] == 1
    letters = [
        out for out in decider.apply(record, 1, planned.state, NOW_MS).outgoing if out.topic == DEAD_LETTERS.name
    ]
    assert counts[FAILED, "birthday", "on.date", "not_a_date"] == 2
    assert "birthday: on.date: not a date" in decode(DeadLetter, letters[0].value).detail


def test_planning_is_journaled_though_its_run_had_no_records(worker: Worker) -> None:
    worker.tick(NOW_MS + 1)
    assert worker.runtime.buffer.seal(()) is not None


def test_a_replay_by_the_journal_gives_the_same_decisions_and_states_byte_for_byte(worker: Worker) -> None:
    worker.tick(NOW_MS + 1)
    worker.tick(NOW_MS + 10 * HOUR_MS)
    worker.tick(NOW_MS + 34 * HOUR_MS)
    live = decisions(worker.runtime.buffer.outputs)
    inputs = {PROFILES.name: {n: Appended(u.encode(), profile(u), NOW_MS) for n, u in enumerate(ZONES)}}
    replay = Replay(0, 1, inputs)
    plain, daily = (Decider(Evaluator(rules(text))) for text in (PLAIN, DAILY))
    spans = [Applied(topic=PROFILES.name, partition=0, first=0, last=2)]

    def checkpoint(applied: list[Applied], hours: float, manifest: int) -> Checkpoint:
        clock = NOW + timedelta(hours=hours)
        return Checkpoint(partition=0, number=1, applied=applied, clock=clock, manifest=manifest, control=0)

    replay.follow(checkpoint(spans, 0, 1), plain)
    replay.follow(checkpoint([], 1 / 3_600_000, 2), daily)
    replay.follow(checkpoint([], 10, 2), daily)
    replay.follow(checkpoint([], 34, 2), daily)
    assert decisions(replay.written) == live
    assert len(live) == 6
    assert worker.states() == replay.states
