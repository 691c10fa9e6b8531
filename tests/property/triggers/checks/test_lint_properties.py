"""The warnings of `check` are true: a rule that never fires sends nothing, a cap never reached changes nothing."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from triggers.cases.backtest import BacktestResult, backtest
from triggers.language.diagnostics import SourceFile
from triggers.loader import check, load_rules

START = datetime(2026, 1, 5, tzinfo=UTC)
TEMPLATES = {"a": "0" * 32, "b": "1" * 32}
NUMBERS = st.integers(0, 3)
CONDITIONS = st.sampled_from(
    [
        *("event.n > 1", "event.n < 1", "event.n == 2", "event.n >= 1 && event.n <= 1", "event.n > 1 && event.n < 2"),
        *("event.n < 1 || event.n > 2", 'event.type == "pong"', "true", "1 > 2 && false", "event.n > 2 && true"),
        *('event.type == "ping" && event.n < 3', "size(event.list) > 1", "size(event.list) < 0", "event.missing > 1"),
    ]
)
WINDOWS = st.sampled_from(["6h", "1d", "2d", "3d", "1w", "calendar day", "calendar week", "calendar month"])
SCOPES = st.sampled_from(["trigger", "key", "purpose", "all"])
CAPS = st.builds(
    lambda count, per, scope, over: f"{{max: {count}, per: {per}, scope: {scope}, over: {over}}}",
    st.integers(1, 4),
    WINDOWS,
    SCOPES,
    st.sampled_from(["drop", "defer"]),
)
PERIODS = st.sampled_from(
    [
        '{from: "21:00", to: "08:00"}',
        '{from: "07:30", to: "21:30"}',
        '{from: "08:00", to: "20:59", over: drop}',
        '{from: "21:00", to: "08:00", days: [mon, tue]}',
    ]
)


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A rule, without its caps, and its caps."""
    found = ["trigger: t", "purpose: p", f"on: {{event: ping, where: '{draw(CONDITIONS)}'}}"]
    optional = {
        "when": CONDITIONS.map(repr),
        "key": st.sampled_from(["user.id", "event.n"]),
        "reentry": st.sampled_from(["never", "1d", "2d", "36h", "always"]),
        "after": st.sampled_from(["1h", "13h"]),
        "expires": st.sampled_from(["1h", "12h", "2d"]),
        "settle": st.sampled_from(["30m", "2h", "13h"]),
        "holdout": st.sampled_from(["0%", "50%", "100%"]),
        "quiet": st.lists(PERIODS, min_size=1, max_size=2).map(lambda each: f"[{', '.join(each)}]"),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            found.append(f"{key}: {draw(values)}")
    found.append(draw(st.sampled_from(["send: a", "steps: [{send: a}, {wait: 5h}, {send: b}]"])))
    return "\n".join(found) + "\n", draw(st.lists(CAPS, max_size=3))


EVENTS = st.lists(st.tuples(st.integers(0, 20 * 24), st.sampled_from(["ping", "pong"]), NUMBERS), max_size=25)
POLICIES = st.one_of(st.just(""), CAPS.map(lambda cap: f"---\npolicy: calm\nfor: {{}}\ncap: {cap}\n"))


def played(rules: str, events: list[tuple[int, str, int]]) -> BacktestResult:
    log = [
        Event(
            id=f"{number:03d}",
            type=kind,
            user_id="u",
            time=START + timedelta(hours=hour),
            properties={"n": n, "list": ["x"] * n},
        )
        for number, (hour, kind, n) in enumerate(events)
    ]
    return backtest(load_rules([SourceFile("r.yaml", rules)], TEMPLATES), log)


def with_caps(rule: str, caps: list[str], policy: str) -> str:
    return rule + (f"cap: [{', '.join(caps)}]\n" if caps else "") + policy


@settings(max_examples=60, deadline=None)
@given(lines(), POLICIES, EVENTS)
def test_a_rule_that_never_fires_sends_nothing(
    rule: tuple[str, list[str]], policy: str, events: list[tuple[int, str, int]]
) -> None:
    text = with_caps(*rule, policy)
    if any(each.code == "never-fires" for each in check([SourceFile("r.yaml", text)], TEMPLATES)):
        assert played(text, events).sends == {}


@settings(max_examples=60, deadline=None)
@given(lines(), POLICIES, EVENTS)
def test_a_cap_that_is_never_reached_can_be_dropped(
    rule: tuple[str, list[str]], policy: str, events: list[tuple[int, str, int]]
) -> None:
    head, caps = rule
    text = with_caps(head, caps, policy)
    found = [each for each in check([SourceFile("r.yaml", text)], TEMPLATES) if each.code == "cap-unreachable"]
    row = text.splitlines()[found[0].line - 1] if found else ""
    gone = {number for number in range(len(caps)) if _begins(row, number) in {each.column for each in found}}
    kept = [cap for number, cap in enumerate(caps) if number not in gone]
    assert len(caps) - len(kept) == len(found)
    assert played(text, events).decisions == played(with_caps(head, kept, policy), events).decisions


def _begins(row: str, number: int) -> int:
    """The column at which the cap of this number begins."""
    at = -1
    for _ in range(number + 1):
        at = row.find("{", at + 1)
    return at + 1
