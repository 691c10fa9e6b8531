"""Schedules of a set that is first published: every resident user has a timer, and a replay decides the same."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from drivers.lone_worker import LoneWorker, rules
from structlog.testing import capture_logs

from schemas import zones
from schemas.codec import decode, encode, partition_for
from schemas.deadletters import DeadLetter
from schemas.journal import AppliedRange, Checkpoint
from schemas.profiles import Consent, Profile
from schemas.topics import DEAD_LETTERS, DECISIONS, JOURNAL, PROFILES
from streams.decisions.counts import FAILED, Counts
from streams.decisions.evaluate import Decider
from streams.decisions.replay import Appended, Replay
from streams.decisions.rulefeed import PublishedRules
from streams.decisions.update import InputRecord
from streams.runtime.checkpoint import OffsetMetadata, Output
from triggers.engine.evaluator import Evaluator

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000
PLAIN = "trigger: hello\npurpose: transactional\non: signed_up\nsend: hello\n"
DAILY = PLAIN + '---\ntrigger: daily\npurpose: marketing\non: {every: day, at: "09:00"}\nsend: hello\n'
ZONES = {"u1": "UTC", "u2": "Europe/Berlin", "u3": None}


def profile(user_id: str) -> bytes:
    consent = {"marketing": Consent(granted=True, time=NOW)}
    return encode(Profile(user_id=user_id, zone=ZONES[user_id], consent=consent))


def states_before() -> dict[bytes, bytes]:
    """What users' profiles left under rules without a schedule."""
    decider, found = Decider(Evaluator(rules(PLAIN))), {}
    for user_id in ZONES:
        key = user_id.encode()
        record = InputRecord(PROFILES.name, partition_for(key, 1), 0, key, profile(user_id))
        update = decider.apply(record, 1, None, NOW_MS)
        assert update.state is not None
        found[key] = update.state
    return found


def decisions(outputs: Sequence[Output]) -> list[bytes]:
    return [out.value or b"" for out in outputs if out.topic == DECISIONS.name]


@pytest.fixture
def worker() -> LoneWorker:
    """Before its first run under manifest 2, which has a schedule; manifest 1 had none."""
    return LoneWorker(OffsetMetadata(NOW_MS, 1, {"manifest": 1, "control": 0}), DAILY, states_before())


def test_every_user_has_a_slot_without_any_event(worker: LoneWorker) -> None:
    worker.tick(NOW_MS + 1)
    assert worker.processor.pending() == {0: 3}
    worker.tick(NOW_MS + 4 * HOUR_MS)
    assert len(decisions(worker.runtime.buffer.outputs)) == 3


def test_users_are_planned_once_for_a_rule_set_and_again_after_its_schedules_change(worker: LoneWorker) -> None:
    assert worker.processor.before_batch(0, NOW_MS) == 3
    assert worker.processor.before_batch(0, NOW_MS) == 0
    worker.processor.adopt(PublishedRules(rules(DAILY + "priority: 7\n"), 3, 0, frozenset()))
    assert worker.processor.before_batch(0, NOW_MS) == 0
    worker.processor.adopt(PublishedRules(rules(DAILY.replace("09:00", "10:00")), 4, 0, frozenset()))
    assert worker.processor.before_batch(0, NOW_MS) == 3


def test_an_edit_that_concerns_no_user_writes_no_state(worker: LoneWorker) -> None:
    assert worker.processor.before_batch(0, NOW_MS) == 3
    follow = DAILY + "---\ntrigger: f\npurpose: transactional\non: x\non_edit: follow\nsend: hello\n"
    for manifest, text in enumerate((follow, follow + "mode: off\n"), start=3):
        worker.processor.adopt(PublishedRules(rules(text), manifest, 0, frozenset()))
        assert worker.processor.before_batch(0, NOW_MS) == 0


def test_a_worker_that_starts_with_applied_rules_plans_no_user_again() -> None:
    worker = LoneWorker(OffsetMetadata(NOW_MS, 1, {"manifest": 2, "control": 0}), DAILY, states_before())
    assert worker.processor.before_batch(0, NOW_MS) == 0
    worker = LoneWorker(OffsetMetadata(NOW_MS, 1, {"manifest": 1, "control": 0}), PLAIN, states_before())
    assert worker.processor.before_batch(0, NOW_MS) == 0


def test_a_worker_with_other_zone_data_than_the_journal_warns_and_plans_all_users_again() -> None:
    with capture_logs() as lines:
        mark = OffsetMetadata(NOW_MS, 1, {"manifest": 2, "control": 0, "zones": zones.RELEASE - 1})
        worker = LoneWorker(mark, DAILY, states_before())
    before = zones.release_name(zones.RELEASE - 1)
    changes = [(line["log_level"], line["before"], line["now"]) for line in lines if line["event"] == "zones_changed"]
    assert changes == [("warning", before, zones.VERSION)]
    assert worker.processor.ready({"manifest": 2, "zones": zones.RELEASE + 1})  # an older Ebbtide may take over again
    assert worker.processor.before_batch(0, NOW_MS) == 3
    with capture_logs() as lines:
        LoneWorker(
            OffsetMetadata(NOW_MS, 1, {"manifest": 2, "control": 0, "zones": zones.RELEASE}), DAILY, states_before()
        )
    assert not [line for line in lines if line["event"] == "zones_changed"]


def test_the_journal_and_the_offsets_name_the_release_of_the_zone_data(worker: LoneWorker) -> None:
    worker.tick(NOW_MS + 1)
    transaction = worker.runtime.buffer.drain(())
    assert transaction is not None
    [record] = [decode(Checkpoint, out.value) for out in transaction.outputs if out.topic == JOURNAL.name]
    assert record.zones == zones.VERSION
    assert {OffsetMetadata.decode(offset.metadata).versions["zones"] for offset in transaction.offsets} == {
        zones.RELEASE
    }


def test_a_journal_from_before_the_release_was_noted_is_still_read() -> None:
    old = b'{"partition":0,"number":1,"applied":[],"clock":"2026-01-05T00:00:00Z","manifest":1,"control":0}'
    assert decode(Checkpoint, old).zones == ""


def test_a_replay_names_the_other_releases_that_its_journal_was_decided_by() -> None:
    replay, decider = Replay(0, 1, {}), Decider(Evaluator(rules(PLAIN)))
    for release in ("", zones.VERSION, "2019c"):
        checkpoint = Checkpoint(partition=0, number=1, applied=[], clock=NOW, manifest=1, control=0, zones=release)
        replay.apply(checkpoint, decider)
    assert replay.other_zones == {"2019c"}


BIRTHDAY = PLAIN + (
    '---\ntrigger: birthday\npurpose: marketing\non: {date: user.birthday, at: "09:00", yearly: true}\nsend: hello\n'
)


def test_a_date_that_cannot_be_read_is_counted_by_rule_and_cause_at_a_profile_and_at_new_rules() -> None:
    counts: Counts = Counter()
    before, decider = Decider(Evaluator(rules(PLAIN)), counts), Decider(Evaluator(rules(BIRTHDAY)), counts)
    profile = encode(Profile(user_id="u1", attributes={"birthday": "3.5.1990"}))
    record = InputRecord(PROFILES.name, 0, 0, b"u1", profile)
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


def test_planning_is_journaled_though_its_run_had_no_records(worker: LoneWorker) -> None:
    worker.tick(NOW_MS + 1)
    assert worker.runtime.buffer.drain(()) is not None


def test_a_replay_by_the_journal_gives_the_same_decisions_and_states_byte_for_byte(worker: LoneWorker) -> None:
    worker.tick(NOW_MS + 1)
    worker.tick(NOW_MS + 10 * HOUR_MS)
    worker.tick(NOW_MS + 34 * HOUR_MS)
    live = decisions(worker.runtime.buffer.outputs)
    inputs = {PROFILES.name: {n: Appended(u.encode(), profile(u), NOW_MS) for n, u in enumerate(ZONES)}}
    replay = Replay(0, 1, inputs)
    plain, daily = (Decider(Evaluator(rules(text))) for text in (PLAIN, DAILY))
    spans = [AppliedRange(topic=PROFILES.name, partition=0, first=0, last=2)]

    def checkpoint(applied: list[AppliedRange], hours: float, manifest: int) -> Checkpoint:
        clock = NOW + timedelta(hours=hours)
        return Checkpoint(partition=0, number=1, applied=applied, clock=clock, manifest=manifest, control=0)

    replay.apply(checkpoint(spans, 0, 1), plain)
    replay.apply(checkpoint([], 1 / 3_600_000, 2), daily)
    replay.apply(checkpoint([], 10, 2), daily)
    replay.apply(checkpoint([], 34, 2), daily)
    assert decisions(replay.written) == live
    assert len(live) == 6
    assert worker.states() == replay.states
