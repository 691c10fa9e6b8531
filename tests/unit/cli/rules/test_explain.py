"""`ebbtide explain`: decisions in plain words, each computed again from what it stored."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from cli.lookback.explain_commands import none_words
from cli.main import app
from cli.rules.explain import Explanation, show
from schemas.codec import encode
from schemas.decisions import Decision, GateAnswer
from schemas.events import Event
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.cases.backtest import backtest
from triggers.cases.verification import Verification, verify
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules

RULES = """trigger: cart
purpose: marketing
on: cart_updated
key: event.cart_id
after: 1h
when: event.total > 5
cap: [{max: 1, per: 3d, over: defer}, {max: 2, per: calendar week}]
quiet:
  - {from: "21:00", to: "08:00", days: [mon, tue, wed]}
  - {from: "12:00", to: "13:00", zone: Asia/Tokyo}
expires: 12h
send: {template: t, data: {total: event.total}}
---
trigger: thanks
purpose: transactional
on: cart_updated
send: {template: t, data: {note: event.note}}
---
trigger: tried
purpose: marketing
mode: canary 30%
holdout: 40%
unless: {event: stop, where: event.x > 1}
on: cart_updated
goal: {event: stop, within: 3d}
quiet: {from: "2026-01-06", through: "2026-01-07", over: drop}
after: 1d
send: t
---
score: keen
decay: {curve: exponential, half_life: 1d}
add: {event: cart_updated, points: event.total}
---
trigger: keenly
purpose: marketing
on: cart_updated
after: 1d
when: score.keen >= 4.5
send: t
---
trigger: quietly
purpose: marketing
mode: shadow
on: cart_updated
send: t
---
trigger: switched-off
purpose: marketing
mode: off
on: cart_updated
send: t
"""
LOADED = load_rules([SourceFile("r.yaml", RULES)], {"t": "h" * 32})
START = datetime(2026, 1, 5, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Nowhere/Land", None)


def decided(carts: list[tuple[int, int, float]], consent: bool = True, zone: str | None = None) -> list[Decision]:
    """The decisions of one user who updates carts: (minute, which cart, its total)."""
    events = [
        Event(
            id=f"e{number}",
            type="stop" if total < 0 else "cart_updated",
            user_id="u1",
            time=START + timedelta(minutes=minute),
            properties={"cart_id": f"c{cart}", "total": total, **({"note": "x"} if cart else {})},
        )
        for number, (minute, cart, total) in enumerate(carts)
    ]
    granted = {"marketing": Consent(granted=consent, time=START)}
    profile = Profile(user_id="u1", address="u1@mail.example", zone=zone, consent=granted)
    found: list[Decision] = []
    backtest(LOADED, events, {"u1": profile}, on_decision=found.append)
    return found


CARTS = st.lists(st.tuples(st.integers(0, 8 * 1440), st.integers(0, 3), st.sampled_from([1.0, 9.0, -1.0])), max_size=8)


@settings(max_examples=60, deadline=None)
@given(CARTS, st.booleans(), st.sampled_from(ZONES))
def test_every_decision_of_the_engine_verifies(
    carts: list[tuple[int, int, float]], consent: bool, zone: str | None
) -> None:
    for decision in decided(carts, consent, zone):
        assert verify(decision) == Verification()
        assert verify(Decision.model_validate_json(encode(decision))) == Verification()


def some(gate: Gate | None, outcome: DecisionOutcome, reason: Reason | None = None, trigger: str = "cart") -> Decision:
    """A decision with this outcome, whose last gate is `gate`."""
    carts = [(60 * hour, hour % 3, 9.0 if hour % 5 else 1.0) for hour in range(0, 170, 7)]
    for consent in (True, False):
        for decision in decided(carts, consent, "Europe/Berlin"):
            last = decision.gates[-1].gate if decision.gates else None
            named = decision.trigger == trigger
            if named and (decision.outcome, decision.reason) == (outcome, reason) and gate in (None, last):
                return decision
    raise AssertionError(f"no decision {outcome} {reason}")


SENT = some(Gate.CAP, DecisionOutcome.SEND)
QUIET = some(Gate.QUIET, DecisionOutcome.DEFER, Reason.QUIET)
CAPPED = some(Gate.CAP, DecisionOutcome.DROP, Reason.CAP)
REFUSED = some(Gate.CONSENT, DecisionOutcome.DROP, Reason.NO_CONSENT)
EXPIRED = some(Gate.EXPIRY, DecisionOutcome.DROP, Reason.EXPIRED)
ASKED = some(Gate.WHEN, DecisionOutcome.DROP, Reason.CONDITION)
KEEN = some(None, DecisionOutcome.SEND, trigger="keenly")
SHADOW = some(None, DecisionOutcome.SHADOW, Reason.MODE, "quietly")


BERLIN = {"local": "15:00", "zone": "Europe/Berlin"}
TOKYO = {"local": "15:00", "zone": "Asia/Tokyo"}


def changed(decision: Decision, gate: Gate, **values: Any) -> Decision:
    gates = [each.model_copy(update=values) if each.gate is gate else each for each in decision.gates]
    return decision.model_copy(update={"gates": gates})


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (changed(CAPPED, Gate.CAP, observed=0), "cap: it observed 0"),
        (changed(SENT, Gate.CAP, observed=9), "cap: it observed 9"),
        (changed(CAPPED, Gate.CAP, next_eligible=START), "cap: the room"),
        (changed(REFUSED, Gate.CONSENT, observed="granted"), "consent: it observed 'granted'"),
        (changed(ASKED, Gate.WHEN, observed=True), "when: it observed True"),
        (changed(KEEN, Gate.WHEN, passed=False, observed=False), "when: with the stored scores it is true"),
        (changed(SENT, Gate.SUPPRESSION, observed=True), "suppression: it observed True"),
        (changed(SENT, Gate.MODE, observed="off"), "mode: it observed 'off'"),
        (changed(SENT, Gate.EXPIRY, limit=START.isoformat()), "expiry: it observed"),
        (changed(SENT, Gate.EXPIRY, observed=99.0), "expiry: it was"),
        (
            changed(QUIET, Gate.QUIET, observed=BERLIN),
            "quiet: the clock in Europe/Berlin showed",
        ),
        (
            changed(QUIET, Gate.QUIET, observed=TOKYO),
            "quiet: it read the clock in Asia",
        ),
        (
            changed(QUIET, Gate.QUIET, limit={"from": "09:00", "to": "10:00"}),
            "quiet: 09:00 to 10:00 does not contain that moment",
        ),
        (changed(QUIET, Gate.QUIET, next_eligible=QUIET.decided_at), "quiet: 21:00 to 08:00"),
        (changed(SENT, Gate.HOLDOUT, observed="x", limit=0), "holdout: the user is not among"),
        (SENT.model_copy(update={"outcome": DecisionOutcome.DROP}), "every gate passed, which gives send"),
        (SENT.model_copy(update={"command_id": "0" * 32}), "the command's id"),
        (SENT.model_copy(update={"gates": SENT.gates[1:]}), "the gates are not in their order"),
        (CAPPED.model_copy(update={"reason": Reason.QUIET}), "the gate cap did not pass"),
        (SHADOW.model_copy(update={"outcome": DecisionOutcome.SEND}), "every gate passed, which gives shadow"),
        (CAPPED.model_copy(update={"gates": [*CAPPED.gates, SENT.gates[-1]]}), "a gate answered after one"),
    ],
)
def test_a_decision_that_does_not_follow_names_the_difference(wrong: Decision, expected: str) -> None:
    assert any(each.startswith(expected) for each in verify(wrong).differs), verify(wrong)


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_last_year_of_the_calendar_work(year: int) -> None:
    edge = datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, tzinfo=UTC)
    for zone in ("Asia/Tokyo", "America/New_York"):
        observed = {"local": "12:00", "zone": zone}
        at_the_edge = changed(QUIET, Gate.QUIET, observed=observed, next_eligible=edge)
        found = verify(at_the_edge.model_copy(update={"decided_at": edge, "inputs": {"zone": zone}}))
        assert [each for each in (*found.differs, *found.unverified) if each.startswith("quiet:")] == []


OLD = "this version does not know the stored values"


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (changed(SENT, Gate.MODE, observed="paused global"), f"mode: {OLD} observed='paused global', limit=None"),
        (changed(SENT, Gate.MODE, observed="canary", limit="30%"), f"mode: {OLD} observed='canary', limit='30%'"),
        (changed(SENT, Gate.DEDUPE, observed=7), f"dedupe: {OLD} observed=7"),
        (changed(SENT, Gate.SUPPRESSION, observed="no"), f"suppression: {OLD} observed='no'"),
        (changed(SENT, Gate.CONSENT, observed="not needed"), f"consent: {OLD} observed='not needed'"),
        (changed(ASKED, Gate.WHEN, observed="error: x"), f"when: {OLD} observed='error: x'"),
        (changed(SENT, Gate.HOLDOUT, observed="x", limit="5%"), f"holdout: {OLD} observed='x', limit='5%'"),
        (changed(SENT, Gate.EXPIRY, limit="soon"), f"expiry: {OLD}"),
        (changed(QUIET, Gate.QUIET, observed="15:00 Europe/Berlin"), f"quiet: {OLD} observed='15:00 Europe/Berlin'"),
        (changed(QUIET, Gate.QUIET, limit="21:00 to 08:00"), f"quiet: {OLD}"),
        (changed(CAPPED, Gate.CAP, limit="1 per 3d by trigger"), f"cap: {OLD}"),
    ],
)
def test_stored_values_of_another_version_are_reported_as_not_verified(old: Decision, expected: str) -> None:
    found = verify(old)
    assert [each for each in found.unverified if each.startswith(expected)], found
    assert not [each for each in found.differs if each.startswith(expected.split(":")[0])]
    out = StringIO()
    show(Console(file=out), [Explanation(old, found)])
    assert f"recomputed: cannot verify {expected}" in out.getvalue()
    assert "recomputed: the same" not in out.getvalue()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
LIMITS = st.sampled_from(
    [
        *(5, 30.5, "5%", {"max": 9**50, "per": "1d", "by": "all"}, {"from": "25:00", "to": "26:00"}),
        *({"from": "21:00", "to": "08:00", "days": ["xyz"]}, {"from": "21:00", "to": "08:00", "zone": "Mars"}),
        {"from": "2026-02-30", "through": "2026-03-01"},
    ]
)
OBSERVED = st.sampled_from(
    [{"paused": "global"}, {"error": "x"}, {"error": 5}, {"local": "21:30", "zone": "Mars"}, {"local": 5}, "canary"]
)
INSTANTS = st.datetimes(timezones=st.just(UTC))
INPUTS = st.fixed_dictionaries(
    {}, optional={name: JSON | st.sampled_from(ZONES) for name in ("zone", "due", "scores", "cause", "path")}
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([SENT, QUIET, CAPPED, EXPIRED, ASKED]), st.data())
def test_explain_shows_a_decision_with_any_stored_values(decision: Decision, data: st.DataObject) -> None:
    gates = [
        GateAnswer(
            gate=data.draw(st.sampled_from([*Gate, each.gate, each.gate])),
            passed=data.draw(st.booleans()),
            observed=data.draw(JSON | OBSERVED | st.just(each.observed)),
            limit=data.draw(JSON | LIMITS | st.just(each.limit)),
            next_eligible=data.draw(st.none() | INSTANTS),
        )
        for each in decision.gates
    ]
    changes = {"gates": gates, "decided_at": data.draw(INSTANTS), "inputs": data.draw(INPUTS)}
    strange = decision.model_copy(update=changes)
    show(Console(file=StringIO()), [Explanation(strange, verify(strange))])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "decisions.jsonl"
    decisions = [SENT, QUIET, CAPPED, EXPIRED, REFUSED.model_copy(update={"user_id": "u2"})]
    path.write_bytes(b"".join(encode(each) + b"\n" for each in decisions) + b'{"summary":{}}\n')
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    return done.exit_code, done.stdout


def test_explain_shows_each_gate_in_words(file: Path) -> None:
    code, out = run("--user", "u1", "--file", file)
    assert code == 0
    assert "cart, t: sent" in out
    assert "✓ consent     granted for marketing" in out
    assert "✓ when        true: event.total > 5" in out
    assert "within 21:00 to 08:00 on mon, tue, wed; free again 2026-01-" in out
    assert "so far, of 1 per 3d by trigger" in out
    assert out.count("recomputed: the same") == 4
    assert "u2" not in out


def test_a_profile_without_a_zone_is_shown_as_none(file: Path) -> None:
    file.write_bytes(encode(SENT.model_copy(update={"inputs": {"zone": "UTC", "zone_given": ""}})) + b"\n")
    _, out = run("--user", "u1", "--file", file)
    assert "zone UTC, zone_given none\n" in out


def test_the_newest_decisions_come_last_and_last_limits_their_number(file: Path) -> None:
    _, out = run("--user", "u1", "--file", file, "-n", 2)
    heads = [line for line in out.splitlines() if line.startswith("2026")]
    assert len(heads) == 2
    assert heads == sorted(heads)
    assert out.endswith("\nearlier decisions are not shown; -n 4 shows up to 4\n")
    assert len(json.loads(run("--user", "u1", "--file", file, "-n", 2, "--json")[1])) == 2
    assert "not shown" not in run("--user", "u1", "--file", file, "-n", 4)[1]


def test_a_difference_is_shown_and_exits_with_1(file: Path) -> None:
    wrong = changed(CAPPED, Gate.CAP, observed=0)
    file.write_bytes(encode(wrong) + b"\n")
    code, out = run("--user", "u1", "--file", file)
    assert code == 1
    assert "recomputed: differs: cap: it observed 0, which passes, but the decision stores the opposite" in out
    code, out = run("--user", "u1", "--file", file, "--json")
    assert code == 1
    assert json.loads(out)[0]["recomputed"] == [
        "cap: it observed 0, which passes, but the decision stores the opposite"
    ]


def test_an_unknown_user_has_no_decisions(file: Path) -> None:
    assert run("--user", "u9", "--file", file) == (
        1,
        "no decision about u9: nothing that concerns them reached a gate\n",
    )


@pytest.mark.parametrize(
    ("trigger", "rules", "words"),
    [
        ("crat", {"cart", "thanks"}, "no rule `crat` in the current rules; did you mean `cart`?"),
        ("nope", {"cart", "thanks"}, "no rule `nope` in the current rules; known here: cart, thanks"),
        ("nope", set(), "no rule `nope` in the current rules; there is none"),
        ("cart", {"cart"}, "no decision of cart about u9: nothing that concerns them reached a gate; "),
        ("cart", None, "no decision of cart about u9: nothing that concerns them reached a gate; "),
        (None, None, "no decision about u9: nothing that concerns them reached a gate; is `ebbtide run streams` "),
    ],
)
def test_no_decision_is_told_from_a_rule_that_is_not_there(
    trigger: str | None, rules: set[str] | None, words: str
) -> None:
    assert none_words("u9", trigger, rules, recorded=True).startswith(words)


def test_a_line_that_is_not_a_decision_is_named(file: Path) -> None:
    file.write_text('{"summary":{}}\n{"id": 5}\n')
    done = CliRunner().invoke(app, ["explain", "--user", "u1", "--file", str(file)])
    assert f"{file}:2: not a decision: " in str(done.exception)


@pytest.mark.parametrize("until", ["yesterday", "", "9f2c64a0", "2026-13-01"])
def test_an_end_that_is_neither_a_time_nor_an_id_is_refused_before_anything_is_read(until: str) -> None:
    done = CliRunner().invoke(
        app, ["explain", "--user", "u1", "--replay", "--until", until], env={"EBBTIDE_KAFKA": "-"}
    )
    assert done.exit_code == 2
    assert "neither a time such as 2026-11-28T09:00:00Z nor the id of a" in " ".join(
        done.stderr.replace("│", "").split()
    )
