"""When a score, a count or a segment crosses its line."""

from settled_cases.case import SettledCase, SettledStep, edit, event, profile, until

PING = "trigger: t\npurpose: marketing\non: ping\n"
SCORE = """
score: s
decay: {curve: exponential, half_life: 1d}
add: {event: ping, points: event.n}
---
trigger: t
purpose: marketing
on: {score: s, falls_below: 0.2, rearm: 0.5}
max_age: 7d
send: a
"""
LEVEL = "trigger: t\npurpose: marketing\non: {%s}\nsend: a\n"
CUT_SCORE = """
score: s
decay: %s
add: {event: ping, points: event.n}
ceiling: 4
---
trigger: t
purpose: marketing
on: {score: s, falls_below: 1}
send: a
"""
STEP_SCORE = "score: s\ndecay: {curve: step, lifetime: 2d}\nadd: {event: ping, points: 1}\n---\n"
SEGMENT = "segment: loyal\nwhen: user.vip == true\n---\n" + LEVEL % "enters: loyal"
LAPSED = """
metric: orders
event: ordered
within: ever
where: event.n == 1
---
segment: lapsed
when: metric.orders.count > 0 && now - metric.orders.last > days(10)
---
trigger: t
purpose: marketing
on: {enters: lapsed}
send: a
"""
METRIC_OF_2D = "metric: m\nevent: ping\nwithin: 2d\nsum: event.n\ndistinct: event.k\n---\n"
KEEN = "segment: keen\nwhen: %s\n---\n" + LEVEL % "enters: keen"
KEEN += "---\n" + (LEVEL % "leaves: keen").replace("trigger: t", "trigger: l")
METRIC_AND_SEGMENT = "---\nmetric: pings\nevent: ping\nwithin: 1d\n---\nsegment: keen\nwhen: metric.pings.count >= 1\n"
RULE_THAT_IS_OFF = "---\ntrigger: o\npurpose: marketing\nmode: off\non: %s\nsend: a\n"


def every_night(clock: str = "02:00", each: int = 1) -> list[SettledStep]:
    """Events at the same time of six days, and the days after them."""
    days = [event(f"2026-01-{5 + day:02d} {clock}", n=1, k=f"{day}/{n}") for day in range(6) for n in range(each)]
    return [*days, until("2026-01-20 00:00")]


def changed(step: SettledStep, number: int) -> list[SettledStep]:
    """A profile at the instant of an event."""
    return [profile(step.arguments[0], plan=str(number))] if step.call == "event" else []


CASES = [
    SettledCase(
        8,
        "a score that was not armed does not fall",
        SCORE,
        [event("2026-01-05 00:00", n=0.1), event("2026-01-05 00:00", n=0.3), until("2026-02-05 00:00")],
        [],
    ),
    SettledCase(
        8,
        "a score that reaches exactly the rearm line is armed, once",
        SCORE,
        [
            event("2026-01-05 00:00", n=0.5),
            until("2026-02-05 00:00"),
            event("2026-02-05 00:00", n=0.4),
            until("2026-03-05 00:00"),
        ],
        ["2026-01-06 07:43:34.588 t/a send"],
    ),
    *(
        SettledCase(
            18,
            f"a curve of kind {curve.split()[1][:-1]} crosses at {crosses}",
            SCORE.replace("{curve: exponential, half_life: 1d}", curve),
            [event("2026-01-05 00:00", n=0.8), until("2026-02-05 00:00")],
            [f"2026-01-{crosses} t/a send"],
        )
        for curve, crosses in (
            ("{curve: exponential, half_life: 1d}", "07 00:00:00.001"),
            ("{curve: linear, lifetime: 1d}", "05 18:00:00.001"),
            ("{curve: power, scale: 1d, exponent: 1}", "08 00:00:00.001"),
            ("{curve: step, lifetime: 1d}", "06 00:00"),
        )
    ),
    SettledCase(
        19,
        "a segment that is true when it is first published has not been entered",
        PING + "send: a\n",
        [
            profile("2026-01-05 10:00", vip=True),
            edit("2026-01-05 10:30", SEGMENT),
            profile("2026-01-05 11:00", vip=True),
            profile("2026-01-05 12:00", vip=False),
            profile("2026-01-05 13:00", vip=True),
        ],
        ["2026-01-05 13:00 t/a send"],
    ),
    *(
        SettledCase(
            23, f"a daily event crosses the line of {source} once", text, every_night(), [f"2026-01-{crosses} t/a send"]
        )
        for source, text, crosses in (
            ("a count", LEVEL % "event: ping, within: 2d, reaches: 2", "06 02:00"),
            ("a sum", LEVEL % "event: ping, within: 2d, reaches: 2, sum: event.n", "06 02:00"),
            ("distinct values", LEVEL % "event: ping, within: 2d, reaches: 2, distinct: event.k", "06 02:00"),
            ("a count with rearm", LEVEL % "event: ping, within: 2d, reaches: 2, rearm: 1", "06 02:00"),
            ("one event", LEVEL % "event: ping, within: 1d, reaches: 1", "05 02:00"),
            ("a falling count", LEVEL % "event: ping, within: 2d, falls_below: 2", "11 02:00"),
            ("inactivity", LEVEL % "event: ping, inactive: 1d", "11 02:00"),
            ("a rising score", STEP_SCORE + LEVEL % "score: s, reaches: 2", "06 02:00"),
            ("a falling score", STEP_SCORE + LEVEL % "score: s, falls_below: 2", "11 02:00"),
        )
    ),
    SettledCase(
        23,
        "events at every midnight keep a calendar day at one",
        LEVEL % "event: ping, within: calendar day, reaches: 1",
        every_night("00:00"),
        ["2026-01-05 00:00 t/a send"],
    ),
    *(
        SettledCase(
            23,
            f"several events of one instant cross the line of a {source.split(':')[0]} once",
            STEP_SCORE + LEVEL % source,
            every_night(each=4),
            ["2026-01-05 02:00 t/a send"],
        )
        for source in ("event: ping, within: 2d, reaches: 3", "score: s, reaches: 3")
    ),
    SettledCase(
        23,
        "a level that is low for a millisecond has dipped",
        LEVEL % "event: ping, within: 1h, reaches: 1",
        [event("2026-01-05 10:00"), event("2026-01-05 11:00:00.001")],
        ["2026-01-05 10:00 t/a send", "2026-01-05 11:00:00.001 t/a send"],
    ),
    SettledCase(
        23,
        "one event of a batch that comes late does not cross again",
        LEVEL % "event: ping, within: 1d, reaches: 2",
        [
            event("2026-01-05 02:00"),
            event("2026-01-05 02:00"),
            event("2026-01-06 02:00"),
            event("2026-01-06 02:00", arrives="2026-01-06 02:05"),
        ],
        ["2026-01-05 02:00 t/a send"],
    ),
    SettledCase(
        23,
        "a segment sees no dip either",
        METRIC_OF_2D + KEEN % "metric.m.count >= 2",
        every_night(),
        ["2026-01-06 02:00 t/a send", "2026-01-11 02:00 l/a send"],
    ),
    *(
        SettledCase(
            23,
            f"several records of one instant move a segment once: {when}",
            STEP_SCORE + METRIC_OF_2D + KEEN % when,
            [each for n, step in enumerate(every_night(each=3)) for each in (*changed(step, n), step)],
            ["2026-01-06 02:00 t/a send", "2026-01-11 02:00 l/a send"],
        )
        for when in (
            "metric.m.count >= 6",
            "metric.m.sum >= 6",
            "metric.m.distinct >= 6",
            "score.s >= 6",
            'metric.m.count >= 6 || (has(user.plan) && user.plan == "none")',
        )
    ),
    SettledCase(
        23,
        "several events of one instant enter a segment below a line once",
        METRIC_OF_2D + KEEN % "metric.m.count > 0 && metric.m.count < 6",
        every_night(each=3),
        [f"2026-01-{day} 02:00 {move}/a send" for day, move in (("05", "t"), ("06", "l"), ("11", "t"), ("12", "l"))],
    ),
    *(
        SettledCase(
            24,
            f"a segment over `now` is entered at midnight {beside}",
            LAPSED + other,
            [
                event("2026-02-25 12:00", "ordered", n=1),
                event("2026-03-07 15:00", n=2),
                event("2026-03-07 16:00", "ordered", n=2),
                profile("2026-03-07 17:00", plan="team"),
                until("2026-03-10 00:00"),
            ],
            [*others, "2026-03-08 00:00 t/a send"],
            start="2026-02-25 00:00",
        )
        for beside, other, others in (
            ("alone", "", []),
            ("beside a metric", "---\nmetric: pings\nevent: ping\nwithin: 1d\n", []),
            ("beside an `unless`", "---\ntrigger: o\npurpose: marketing\non: nothing\nunless: ping\nsend: a\n", []),
            ("beside a segment", METRIC_AND_SEGMENT, []),
            ("beside a rule that is off", RULE_THAT_IS_OFF % "ping", ["2026-03-07 15:00 o/a drop mode"]),
            (
                "beside a condition",
                RULE_THAT_IS_OFF % "{event: ordered, where: event.n == 2}",
                ["2026-03-07 16:00 o/a drop mode"],
            ),
        )
    ),
    SettledCase(
        24,
        "the midnight names the move",
        LAPSED,
        [event("2026-02-25 12:00", "ordered", n=1), until("2026-03-10 00:00")],
        ["2026-03-08 00:00 t/a send"],
        start="2026-02-25 00:00",
        occurrences=['["2026-03-08T00:00:00+00:00"]'],
    ),
    SettledCase(
        24,
        "an event that only other rules hear at the very midnight does not name the move",
        LAPSED + RULE_THAT_IS_OFF % "ping",
        [event("2026-02-25 12:00", "ordered", n=1), event("2026-03-08 00:00"), until("2026-03-10 00:00")],
        ["2026-03-08 00:00 o/a drop mode", "2026-03-08 00:00 t/a send"],
        start="2026-02-25 00:00",
        occurrences=['["e2"]', '["2026-03-08T00:00:00+00:00"]'],
    ),
    SettledCase(
        24,
        "the same profile again moves no segment, and a changed one those that read the user",
        LAPSED.replace("days(10)", "days(10) && user.vip == true"),
        [
            event("2026-02-25 12:00", "ordered", n=1),
            profile("2026-03-07 15:00", vip=True),
            profile("2026-03-07 16:00", vip=True, plan="team"),
        ],
        ["2026-03-07 16:00 t/a send"],
        start="2026-02-25 00:00",
        profile={"vip": True},
    ),
    *(
        SettledCase(
            28,
            f"a late addition to a score of kind {curve.split()[1][:-1]} gets the room that is left under the ceiling",
            CUT_SCORE % curve,
            [
                event("2026-01-05 10:00", n=3),
                event("2026-01-05 11:00", n=1),
                event("2026-01-05 10:00", n=8, arrives="2026-01-05 11:30"),
                until("2026-01-06 00:00"),
            ],
            [f"2026-01-05 {crosses} t/a send"],
        )
        for curve, crosses in (
            ("{curve: exponential, half_life: 1h}", "13:00:00.001"),
            ("{curve: linear, lifetime: 2h}", "11:51:25.715"),
            ("{curve: power, scale: 1h, exponent: 1}", "16:09:44.200"),
            ("{curve: step, lifetime: 2h}", "13:00"),
        )
    ),
]
