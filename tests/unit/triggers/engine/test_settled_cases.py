"""The settled cases of the language, by number, as the engine and the slow model decide them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from drivers import trigger_world
from drivers.trigger_world import at
from settled_cases import levels, occurrences, sends
from settled_cases.case import SettledCase
from settled_cases.sends import NIGHT, NIGHT_AND_HOLIDAYS, PING
from slow_model.world import ModelWorld

from schemas.vocabulary import OutcomeKind
from triggers.rules.assignment import in_holdout, variant

CASES = sorted([*sends.CASES, *occurrences.CASES, *levels.CASES], key=lambda case: case.number)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


class EngineWorld(trigger_world.World):
    """The engine, driven by the calls of a case."""

    def __init__(self, rules: str, start: str, **profile: Any) -> None:
        super().__init__(rules, start, **profile)
        self._texts = [rules]

    def outcome(self, moment: str, kind: str, command: int) -> None:  # type: ignore[override]
        super().outcome(moment, OutcomeKind(kind), self.commands[command].id)

    def edit(self, moment: str, rules: str) -> None:  # type: ignore[override]
        super().edit(moment, rules, *self._texts)
        self._texts.append(rules)


def shown(decided_at: datetime, trigger: str, step: str, outcome: str, reason: str | None) -> str:
    """A decision as a case writes it."""
    moment = decided_at.astimezone(UTC).isoformat(" ", "milliseconds").partition("+")[0]
    return f"{moment.removesuffix('.000').removesuffix(':00')} {trigger}/{step} {outcome} {reason or ''}".strip()


@every_case
def test_the_engine_decides_a_settled_case(case: SettledCase) -> None:
    world = EngineWorld(case.rules, case.start, **case.profile)
    case.play(world)
    assert [shown(d.decided_at, d.trigger, d.step, d.outcome, d.reason) for d in world.decisions] == case.decisions
    if case.occurrences is not None:
        assert [decision.occurrence for decision in world.decisions] == case.occurrences
    if case.inputs:
        assert case.inputs.items() <= world.decisions[0].inputs.items()


@every_case
def test_the_slow_model_decides_a_settled_case(case: SettledCase) -> None:
    world = ModelWorld(case.rules, case.start, **case.profile)
    case.play(world)
    decisions = world.written().decisions
    assert [
        shown(datetime.fromisoformat(d["decided_at"]), d["trigger"], d["step"], d["outcome"], d["reason"])
        for d in decisions
    ] == case.decisions
    if case.occurrences is not None:
        assert [decision["occurrence"] for decision in decisions] == case.occurrences
    if case.inputs:
        assert case.inputs.items() <= decisions[0]["inputs"].items()


# what the engine alone says of a settled case ------------------------------------------------------------------------


def test_5_a_deferral_past_the_expiry_stores_both_gates() -> None:
    world = EngineWorld(PING + NIGHT + "expires: 9h\nsend: a\n", "2026-01-05 00:00")
    world.event("2026-01-05 23:00", "ping")
    assert [gate.gate for gate in world.decisions[0].gates if not gate.passed] == ["quiet", "expiry"]


def test_17_a_duplicate_is_counted_and_its_successor_names_the_first_command() -> None:
    world = EngineWorld(PING + "max_age: 3d\nsend: a\n", "2026-01-05 00:00")
    for arrives in ("2026-01-05 10:00", "2026-01-06 09:59:59", "2026-01-06 10:00"):
        world.event("2026-01-05 10:00", "ping", event_id="same", arrives=arrives)
    assert world.counts == {"duplicate": 1}
    assert world.decisions[0].command_id == world.decisions[1].gates[1].observed


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (PING + "send: {template: a, data: {total: event.total}}\n", "data.total"),
        (PING.replace("ping", "{event: ping, where: event.n > 1}") + "send: a\n", "on"),
    ],
)
def test_20_what_fails_is_reported_with_its_place(rule: str, place: str) -> None:
    world = EngineWorld(rule, "2026-01-05 00:00")
    world.event("2026-01-05 10:00", "ping")
    assert [(problem.trigger, problem.place) for problem in world.problems] == [("t", place)]


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus"])
def test_21_the_default_zone_is_the_project_s(zone: str | None) -> None:
    world = EngineWorld(PING + NIGHT + "send: a\n", "2026-01-05 00:00", zone=zone, default_zone="America/New_York")
    world.event("2026-01-05 22:00", "ping")
    assert (world.decisions[0].outcome, world.decisions[0].inputs["zone"]) == ("send", "America/New_York")


def test_22_a_grown_weight_moves_only_users_into_it_and_holdouts_stay() -> None:
    users = [f"u{n}" for n in range(4_000)]
    before = {user: variant("s", user, {"a": 50, "b": 50}) for user in users}
    after = {user: variant("s", user, {"a": 60, "b": 40}) for user in users}
    moved = [user for user in users if before[user] != after[user]]
    assert {after[user] for user in moved} == {"a"}
    assert 0.08 < len(moved) / len(users) < 0.12
    small = {user for user in users if in_holdout("t", user, 10)}
    assert small < {user for user in users if in_holdout("t", user, 20)}
    assert 0.08 < len(small) / len(users) < 0.12


def test_25_a_drop_names_its_period_and_when_none_would_hold_the_send() -> None:
    world = EngineWorld(NIGHT_AND_HOLIDAYS, "2026-12-20 00:00")
    world.event("2026-12-26 10:00", "ping")
    gate = world.decisions[0].gates[-1]
    assert gate.limit == {"from": "2026-12-24", "through": "2026-12-26"}
    assert gate.next_eligible is not None
    assert f"{gate.next_eligible:%m-%d %H:%M}" == "12-27 08:00"


@pytest.mark.parametrize(("one", "other"), [(2, 2.0), (0, -0.0)])
def test_a_key_s_number_is_the_same_however_json_writes_it(one: float, other: float) -> None:
    world = EngineWorld(PING + "key: event.n\nreentry: never\nsend: a\n", "2026-01-05 00:00")
    world.event("2026-01-05 10:00", "ping", n=one)
    world.event("2026-01-05 11:00", "ping", n=other)
    assert len(world.sent) == 1


def test_an_occurrence_is_over_with_its_last_send_however_its_branches_are_written() -> None:
    steps = "steps: [{if: user.vip == true, then: [{send: a}], else: [{wait: 1h}]}]\n"
    world = EngineWorld(
        f"trigger: t\npurpose: marketing\non: [ping, {{event: view, inactive: 1h}}]\nkey: user.id\nafter: 30m\n{steps}",
        "2026-01-05 00:00",
        vip=True,
    )
    world.event("2026-01-05 10:00", "view")
    world.event("2026-01-05 10:00", "ping")
    for moment in ("2026-01-05 12:00", "2026-01-05 13:00"):  # late: the ping's send of 10:30, the crossing of 11:00
        world.take(world.evaluator.fire_due(world.state, at(moment)))
    assert [each.occurrence for each in world.decisions] == ['["u1","e2"]', '["u1","e1"]']
