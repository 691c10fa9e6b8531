"""Cases: which pass, which fail, and how the difference is shown."""

from drivers.trigger_world import rules

from triggers.cases.case_runner import CaseResult, run_cases

RULE = """
trigger: t
purpose: marketing
on: ping
after: 1h
unless: stop
quiet: {from: "21:00", to: "08:00"}
experiment: {variants: {plain: 50, photo: 50}}
send: {template: a, data: {variant: occurrence.variant}}
cases:
"""


def run(cases: str, before: str = "") -> list[CaseResult]:
    return run_cases(rules(before + RULE + cases))


def test_a_case_that_holds_passes_without_a_word() -> None:
    [result] = run('  - {name: c, given: [{at: "10:00", ping: {}}], expect: [{at: "11:00", send: a}]}\n')
    assert (result.passed, result.diff, result.trigger, result.name) == (True, (), "t", "c")


def test_a_difference_shows_what_was_expected_what_happened_and_why() -> None:
    [result] = run('  - {name: c, given: [{at: "20:30", ping: {}}], expect: [{at: "21:30", send: a}]}\n')
    assert not result.passed
    assert result.diff == ("- 21:30 send a", "  21:30 defer quiet", "+ +1d 08:00 send a")


def test_a_missing_field_is_reported_once_with_a_remedy() -> None:
    text = "trigger: t\npurpose: marketing\non: ping\nwhen: event.n > 1\nsend: a\ncases:\n"
    twice = '[{at: "10:00", ping: {}}, {at: "11:00", ping: {}}]'
    [result] = run_cases(rules(f'{text}  - {{name: c, given: {twice}, expect: [{{at: "10:00", send: a}}]}}\n'))
    assert result.diff == (
        "- 10:00 send a",
        "  10:00 drop condition",
        "  11:00 drop condition",
        "  problem: when: no such field: n in 'event.n > 1' (write it in the case, or ask has(…) first in the rule)",
    )


def test_a_case_that_fails_says_which_of_its_events_nothing_listens_to() -> None:
    [result] = run('  - {name: c, given: [{at: "10:00", pong: {}}], expect: [{at: "11:00", send: a}]}\n')
    assert result.diff == ("- 11:00 send a", "  note: this rule, and what it asks for, does not listen to `pong`")


def test_a_condition_that_does_not_hold_shows_what_it_saw() -> None:
    text = "score: s\ndecay: {curve: linear, lifetime: 10d}\nadd: {event: x, points: 1}\n---\n"
    text += "trigger: t\npurpose: marketing\non: ping\nwhen: score.s > 2 && user.vip\nsend: a\ncases:\n"
    case = '{name: c, user: {score: {s: 2}}, given: [{at: "+5d 00:00", ping: {}}], expect: [{at: "10:00", send: a}]}'
    [result] = run_cases(rules(f"{text}  - {case}\n"))
    assert result.diff == ("- 10:00 send a", "  +5d 00:00 drop condition (score.s was 1)")


def test_an_unexpected_send_fails() -> None:
    [result] = run('  - {name: c, given: [{at: "10:00", ping: {}}], expect: []}\n')
    assert result.diff == ("+ 11:00 send a",)


def test_a_result_says_where_its_case_stands() -> None:
    first, second = run(
        '  - {name: c, given: [], expect: []}\n  - {name: d, given: [{at: "10:00", ping: {}}], expect: []}\n'
    )
    assert (first.path, first.line, second.line) == ("rules.yaml", 11, 12)
    assert (first.passed, second.passed) == (True, False)


def test_drops_and_exits_are_checked_where_written() -> None:
    stopped = '    given: [{at: "10:00", ping: {}}, {at: "10:30", stop: {}}]\n'
    results = run(
        '  - name: c\n    user: {consent: []}\n    given: [{at: "10:00", ping: {}}]\n'
        '    expect: [{at: "11:00", drop: no_consent}]\n'
        f'  - name: d\n{stopped}    expect: [{{at: "10:30", exit: stop}}]\n'
        f'  - name: e\n{stopped}    expect: [{{at: "10:31", exit: stop}}]\n'
    )
    assert [result.passed for result in results] == [True, True, False]


def test_times_are_the_user_s_and_profiles_may_change() -> None:
    [result] = run(
        "  - name: c\n    start: '2026-01-05'\n    user: {zone: Europe/Berlin}\n"
        "    given: [{at: '22:00', ping: {}}, {at: '+1d 03:00', user: {zone: America/New_York}}]\n"
        "    expect: [{at: '+1d 14:00', send: a}]\n"
    )
    assert result.diff == ()


def test_a_time_counts_to_the_precision_written() -> None:
    score = "score: s\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: x, points: 1}\n---\n"
    text = (
        score + "trigger: t\npurpose: marketing\non: {score: s, falls_below: 0.2, rearm: 0.5}\nsend: a\ncases:\n"
        "  - {name: minutes, user: {score: {s: 0.8}}, given: [], expect: [{at: '+2d 00:00', send: a}]}\n"
        "  - {name: milliseconds, user: {score: {s: 0.8}}, given: [], expect: [{at: '+2d 00:00:00.001', send: a}]}\n"
        "  - {name: wrong, user: {score: {s: 0.8}}, given: [], expect: [{at: '+2d 00:00:00.000', send: a}]}\n"
    )
    assert [result.passed for result in run_cases(rules(text))] == [True, True, False]


def test_a_case_ends_at_until() -> None:
    [result] = run('  - {name: c, until: "10:59", given: [{at: "10:00", ping: {}}], expect: []}\n')
    assert result.passed


def test_a_case_sees_only_the_policies_that_it_lists() -> None:
    policy = "policy: none\nfor: {}\ncap: {max: 0, per: 1d, scope: all}\n---"
    without, with_it = run(
        '  - {name: c, given: [{at: "10:00", ping: {}}], expect: [{at: "11:00", send: a}]}\n'
        '  - {name: d, policies: [none], given: [{at: "10:00", ping: {}}], expect: [{at: "11:00", drop: cap}]}\n',
        policy,
    )
    assert (without.diff, with_it.diff) == ((), ())


def test_a_mode_of_off_or_a_holdout_does_not_change_what_a_case_says() -> None:
    text = RULE.replace("purpose:", "mode: off\nholdout: 100%\npurpose:")
    case = '  - {name: c, given: [{at: "10:00", ping: {}}], expect: [{at: "11:00", send: a}]}\n'
    held = case.replace("name: c,", "name: d, user: {held_out: true},").replace("send: a", "drop: holdout")
    assert [result.diff for result in run_cases(rules(text + case + held))] == [(), ()]


TWO = """policy: weekly
for: {purpose: marketing}
cap: {max: 1, per: 7d, scope: purpose}
---
trigger: low
purpose: marketing
on: ping
send: a
---
trigger: high
purpose: marketing
mode: shadow
holdout: 100%
priority: 80
on: [ping, pong]
send: b
---
trigger: news
purpose: news
on: ping
send: c
cases:
  - {name: alone, policies: weekly, given: [{at: "10:00", ping: {}}], expect: [{at: "10:00", send: c}]}
  - name: with others
    policies: weekly
    with: [low, high]
    given: [{at: "10:00", ping: {}}, {at: "+1d 10:00", pong: {}}]
    expect: [{at: "10:00", send: c}, {at: "10:00", send: high/b}]
  - name: none of the others
    policies: weekly
    with: [low, high, news]
    given: [{at: "10:00", ping: {}}]
    expect: [{at: "10:00", send: c}]
"""


def test_a_cap_across_rules_is_tested_with_the_rules_that_a_case_names() -> None:
    """Consent to the purposes of all of them is given, and all are live."""
    alone, beside, wrong = run_cases(rules(TWO))
    assert (alone.diff, beside.diff) == ((), ())
    assert wrong.diff == ("+ 10:00 send high/b", "  10:00 drop cap (of low)")


def test_drops_and_exits_of_other_rules_are_not_those_of_the_case() -> None:
    case = TWO.replace('expect: [{at: "10:00", send: c}, {at', 'expect: [{at: "10:00", drop: cap}, {at')
    [_, wrong, _] = run_cases(rules(case))
    assert "- 10:00 drop cap" in wrong.diff


RESTOCKED = """trigger: watch
purpose: marketing
on: watched
key: event.sku
after: 2d
unless: {event: [sold, withdrawn], same: sku}
send: a
cases:
  - name: an event without a user ends what waits for it
    given: [{at: "10:00", watched: {sku: a}}, {at: "10:00", watched: {sku: b}}, {at: "12:00", all: {sold: {sku: a}}}]
    expect: [{at: "12:00", exit: sold}, {at: "+2d 10:00", send: a}]
  - name: not what begins later
    given: [{at: "10:00", all: {sold: {sku: a}}}, {at: "12:00", watched: {sku: a}}]
    expect: [{at: "+2d 12:00", send: a}]
"""


def test_an_event_without_a_user_reaches_what_waits_for_it() -> None:
    assert [(result.name, result.diff) for result in run_cases(rules(RESTOCKED)) if not result.passed] == []


def test_a_case_that_fails_says_that_nothing_waits_for_an_event_without_a_user() -> None:
    case = RESTOCKED.replace("all: {sold: {sku: a}}}, {at", "all: {watched: {sku: a}}}, {at")
    [_, result] = run_cases(rules(case.replace("+2d 12:00", "+2d 12:01")))
    note = "  note: this rule, and what it asks for, does not listen to `watched` without a user"
    assert result.diff == ("+ +2d 12:00 send a", "- +2d 12:01 send a", note)
