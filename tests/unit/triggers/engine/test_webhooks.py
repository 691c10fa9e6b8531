"""Webhooks in the engine: no messages to the user, so only mode, dedupe, `when` and expiry hold them back."""

import pytest
from drivers.trigger_world import World

from schemas.vocabulary import OutcomeKind
from triggers.cases.verification import verify
from triggers.rules.encoding import decode

ENDPOINT = "---\nendpoint: crm\nurl: https://crm.example/hooks\nsecrets: crm-signing\n"
HEAD = "trigger: t\npurpose: marketing\non: paid\n"
CALL = HEAD + "send: {webhook: crm, data: {total: event.total}}\n"
GATES = ["mode", "dedupe", "when", "expiry"]


def asked(world: World) -> list[str]:
    return [answer.gate.value for answer in world.decisions[-1].gates]


def test_a_webhook_is_a_command_to_its_endpoint() -> None:
    world = World(CALL + ENDPOINT)
    world.event("2026-01-05 10:00", "paid", total=7)
    [command] = world.commands
    assert (command.channel, command.template, command.template_hash) == ("webhook", "crm", "")
    assert (command.step, command.data, command.to) == ("crm", {"total": 7}, None)
    assert asked(world) == GATES
    assert world.decisions[0].inputs["endpoint"] == "crm"


def test_no_consent_quiet_time_cap_holdout_or_budget_holds_a_webhook_back() -> None:
    limits = 'cap: {max: 0, per: 1d}\nquiet: {from: "00:00", to: "23:59"}\nholdout: 100%\nbudget: {max: 0, per: 1d}\n'
    world = World(CALL + limits + ENDPOINT, consent=(), known=False)
    world.event("2026-01-05 10:00", "paid", total=7)
    assert [each.outcome.value for each in world.decisions] == ["send"]
    assert world.commands[0].budgets is None


@pytest.mark.parametrize(
    ("key", "expected", "gates"),
    [
        ("mode: off\n", "drop mode", GATES[:1]),
        ("mode: shadow\n", "shadow mode", GATES),
        ("when: event.total > 9\n", "drop condition", GATES[:3]),
        ("settle: 2h\nexpires: 1h\n", "drop expired", GATES),
    ],
)
def test_mode_condition_and_expiry_do(key: str, expected: str, gates: list[str]) -> None:
    world = World(CALL + key + ENDPOINT)
    world.event("2026-01-05 10:00", "paid", total=7)
    world.until("2026-01-05 13:00")
    assert [what for _, what in world.decided] == [expected]
    assert asked(world) == gates
    assert world.commands == []


def test_a_paused_endpoint_drops_its_webhooks_and_no_mail() -> None:
    rule = HEAD + "steps: [send: {webhook: crm}, send: {template: a}]\n"
    world = World(rule + ENDPOINT, paused=frozenset({"endpoint/crm"}))
    world.event("2026-01-05 10:00", "paid", total=7)
    assert [what for _, what in world.decided] == ["drop mode", "send"]
    assert [command.channel for command in world.commands] == ["email"]


def test_a_repeated_webhook_is_a_duplicate() -> None:
    world = World(HEAD + "key: user.id\nsteps: [send: {webhook: crm}, wait: 1h, send: {template: a}]\n" + ENDPOINT)
    world.event("2026-01-05 10:00", "paid")
    world.event("2026-01-05 10:10", "paid")
    assert [what for _, what in world.decided] == ["send", "drop duplicate"]
    assert asked(world) == GATES[:2]


def test_a_webhook_is_remembered_by_a_state_that_was_encoded_meanwhile() -> None:
    world = World(HEAD + "key: user.id\nsteps: [send: {webhook: crm}, wait: 1h, send: {template: a}]\n" + ENDPOINT)
    world.state = decode("u1", world.encoded())
    world.event("2026-01-05 10:00", "paid")
    world.state = decode("u1", world.encoded())
    world.event("2026-01-05 10:10", "paid")
    assert [what for _, what in world.decided] == ["send", "drop duplicate"]


def test_a_webhook_counts_in_no_cap_and_opens_no_goal() -> None:
    limits = "cap: {max: 1, per: 1d, scope: all}\ngoal: {event: won, within: 1d}\n"
    world = World(HEAD + "steps: [send: {webhook: crm}, send: a]\n" + limits + ENDPOINT)
    world.event("2026-01-05 10:00", "paid")
    world.event("2026-01-05 11:00", "won")
    found = [(each.step, each.outcome.value) for each in world.decisions]
    assert found == [("crm", "send"), ("a", "send"), ("a", "goal")]


def test_data_that_fails_drops_a_webhook() -> None:
    world = World(CALL + ENDPOINT)
    world.event("2026-01-05 10:00", "paid")
    assert [what for _, what in world.decided] == ["drop invalid_data"]
    assert world.decisions[0].inputs["path"] == "data.total"


def test_each_decision_of_a_webhook_verifies_against_itself() -> None:
    world = World(CALL + "when: event.total > 3\n" + ENDPOINT)
    for total in (1, 7):
        world.event(f"2026-01-05 10:0{total}", "paid", total=total)
    assert [verify(each).differs for each in world.decisions] == [[], []]
    mail = world.decisions[1].model_copy(update={"inputs": {}})
    assert "the gates are not in their order" in verify(mail).differs


def test_the_outcome_of_a_webhook_is_an_event_that_names_its_rule() -> None:
    follow = "---\ntrigger: f\npurpose: marketing\non: {event: webhook.refused, where: event.trigger == 't'}\nsend: a\n"
    world = World(CALL + follow + ENDPOINT)
    world.event("2026-01-05 10:00", "paid", total=7)
    told = {"channel": "webhook", "trigger": "t", "step": "crm"}
    world.outcome("2026-01-05 10:01", OutcomeKind.REFUSED, world.commands[0].id, **told)
    assert [(trigger, step) for _, trigger, step in world.sent] == [("t", "crm"), ("f", "a")]
    assert "unmatched_outcome" not in world.counts
