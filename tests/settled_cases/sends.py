"""When a send leaves, waits or is dropped: caps, quiet hours, expiry, consent, priority, data, zones."""

from settled_cases.case import SettledCase, event, outcome, profile, until

PING = "trigger: t\npurpose: marketing\non: ping\n"
NIGHT = 'quiet: {from: "21:00", to: "08:00"}\n'
NIGHT_TO_HALF_PAST_TWO = 'quiet: {from: "21:00", to: "02:30"}\n'
NIGHT_AND_HOLIDAYS = """
trigger: t
purpose: marketing
on: ping
expires: 5d
quiet: [{from: "21:00", to: "08:00"}, {from: "2026-12-24", through: "2026-12-26", over: drop}]
send: a
"""
CAP_OF_ALL = "cap: {max: 1, per: 1d, scope: all}\n"
REPLY = "cap: {max: 1, per: 1d, over: defer}\nexpires: 3d\nsend: a\n"
BERLIN = {"zone": "Europe/Berlin"}
OF_BRANDS = """
brand: shop
from: Shop <mail@shop.example>
---
brand: outlet
from: mail@outlet.example
---
trigger: s
purpose: news
brand: shop
on: ping
send: a
---
trigger: o
purpose: news
brand: outlet
on: ping
send: a
---
trigger: p
purpose: news
on: ping
send: a
---
trigger: other
purpose: offers
brand: shop
on: pong
send: a
"""
"""`s` and `o` have one purpose in two brands, `p` the same in none, and `other` another one in the brand of `s`."""

CASES = [
    SettledCase(
        1,
        "a cap is open at its old end",
        PING + "cap: {max: 1, per: 3d}\nsend: a\n",
        [event("2026-01-05 10:00"), event("2026-01-08 09:59:59.999"), event("2026-01-08 10:00")],
        ["2026-01-05 10:00 t/a send", "2026-01-08 09:59:59.999 t/a drop cap", "2026-01-08 10:00 t/a send"],
    ),
    SettledCase(
        1,
        "a deferring cap leaves at the first instant with room",
        PING + "cap: {max: 1, per: 3d, over: defer}\nexpires: 5d\nsend: a\n",
        [event("2026-01-05 10:00"), event("2026-01-08 09:59:59.999"), until("2026-01-09 00:00")],
        ["2026-01-05 10:00 t/a send", "2026-01-08 09:59:59.999 t/a defer cap", "2026-01-08 10:00 t/a send"],
    ),
    SettledCase(
        2,
        "a night in which the clocks go forward is an hour shorter",
        PING + NIGHT + "send: a\n",
        [event("2026-03-28 22:00"), until("2026-03-30 00:00")],
        ["2026-03-28 22:00 t/a defer quiet", "2026-03-29 06:00 t/a send"],
        start="2026-03-28 12:00",
        profile=BERLIN,
    ),
    SettledCase(
        3,
        "a closing time that does not exist is the jump",
        PING + NIGHT_TO_HALF_PAST_TWO + "send: a\n",
        [event("2026-03-28 22:00"), until("2026-03-30 00:00")],
        ["2026-03-28 22:00 t/a defer quiet", "2026-03-29 01:00 t/a send"],
        start="2026-03-28 12:00",
        profile=BERLIN,
    ),
    SettledCase(
        3,
        "a closing time that comes twice is the first, and what is due in the second hour is quiet by its reading",
        PING + NIGHT_TO_HALF_PAST_TWO + "send: a\n",
        [event("2026-10-24 22:00"), event("2026-10-25 00:45"), event("2026-10-25 01:10"), until("2026-10-26 00:00")],
        [
            "2026-10-24 22:00 t/a defer quiet",
            "2026-10-25 00:30 t/a send",
            "2026-10-25 00:45 t/a send",
            "2026-10-25 01:10 t/a defer quiet",
            "2026-10-25 01:30 t/a send",
        ],
        start="2026-10-24 12:00",
        profile=BERLIN,
    ),
    SettledCase(
        5,
        "a deferral to the expiry itself is dropped",
        PING + NIGHT + "expires: 9h\nsend: a\n",
        [event("2026-01-05 23:00"), until("2026-01-06 12:00")],
        ["2026-01-05 23:00 t/a drop expired"],
        inputs={"cause": "quiet"},
    ),
    SettledCase(
        5,
        "a deferral that ends before the expiry is sent",
        PING + NIGHT + "expires: 9h1m\nsend: a\n",
        [event("2026-01-05 23:00"), until("2026-01-06 12:00")],
        ["2026-01-05 23:00 t/a defer quiet", "2026-01-06 08:00 t/a send"],
    ),
    SettledCase(
        9,
        "an ISO week in the user's zone spans the year",
        PING + "cap: {max: 2, per: calendar week, over: defer}\nexpires: 7d\nsend: a\n",
        [event(f"{day} 00:00") for day in ("2026-12-29", "2026-12-31", "2027-01-02")] + [until("2027-01-10 00:00")],
        [
            "2026-12-29 00:00 t/a send",
            "2026-12-31 00:00 t/a send",
            "2027-01-02 00:00 t/a defer cap",
            "2027-01-03 11:00 t/a send",  # Monday 4 January, 00:00 in Auckland
        ],
        start="2026-12-28 00:00",
        profile={"zone": "Pacific/Auckland"},
    ),
    SettledCase(
        11,
        "consent that is withdrawn while a send waits drops it, and the cap was not reserved",
        PING + "after: 1h\ncap: {max: 1, per: 3d}\nsend: a\n",
        [
            event("2026-01-05 10:00"),
            profile("2026-01-05 10:30", consent=()),
            event("2026-01-05 12:00"),
            profile("2026-01-05 12:30"),
            until("2026-01-06 00:00"),
        ],
        ["2026-01-05 11:00 t/a drop no_consent", "2026-01-05 13:00 t/a send"],
    ),
    SettledCase(
        14,
        "of rules at one instant the higher priority takes the slot, then the first by name",
        f"{PING}{CAP_OF_ALL}send: a\n"
        f"---\ntrigger: u\npurpose: marketing\non: ping\npriority: 60\n{CAP_OF_ALL}send: b\n"
        f"---\ntrigger: v\npurpose: marketing\non: ping\npriority: 60\n{CAP_OF_ALL}send: c\n",
        [event("2026-01-05 10:00")],
        ["2026-01-05 10:00 u/b send", "2026-01-05 10:00 v/c drop cap", "2026-01-05 10:00 t/a drop cap"],
    ),
    SettledCase(
        15,
        "a released reservation wakes nothing",
        PING + REPLY,
        [
            event("2026-01-05 10:00"),
            event("2026-01-05 11:00"),
            outcome("2026-01-05 12:00", "refused"),
            until("2026-01-07 00:00"),
        ],
        ["2026-01-05 10:00 t/a send", "2026-01-05 11:00 t/a defer cap", "2026-01-06 10:00 t/a send"],
    ),
    SettledCase(
        20,
        "data that is missing drops the send and names the path",
        PING + "send: {template: a, data: {total: event.total}}\n",
        [event("2026-01-05 10:00")],
        ["2026-01-05 10:00 t/a drop invalid_data"],
        inputs={"path": "data.total"},
    ),
    SettledCase(
        20,
        "a where that fails is false",
        "trigger: t\npurpose: marketing\non: {event: ping, where: event.n > 1}\nsend: a\n",
        [event("2026-01-05 10:00")],
        [],
    ),
    *(
        SettledCase(
            21,
            f"{zone!r} is no zone, so the default one counts and the decision says so",
            PING + NIGHT + "send: a\n",
            [event("2026-01-05 10:00")],
            ["2026-01-05 10:00 t/a send"],
            profile={"zone": zone},
            inputs={"zone": "UTC", "zone_given": zone or ""},
        )
        for zone in (None, "", "Mars/Olympus", "../../etc/passwd", "America")
    ),
    *(
        SettledCase(
            25,
            f"what a night holds in {zone} is dropped in the holidays that it ends in",
            NIGHT_AND_HOLIDAYS,
            [event(due), until("2026-12-30 00:00")],
            [f"{due} t/a defer quiet", f"2026-12-24 {eight} t/a drop quiet"],
            start="2026-12-20 00:00",
            profile={"zone": zone},
        )
        for zone, due, eight in (
            ("UTC", "2026-12-23 22:00", "08:00"),
            ("America/New_York", "2026-12-24 03:00", "13:00"),
        )
    ),
    SettledCase(
        25,
        "holidays that hold end in a night that drops",
        NIGHT_AND_HOLIDAYS.replace(", over: drop}]", "}]").replace('to: "08:00"}', 'to: "08:00", over: drop}'),
        [event("2026-12-24 10:00"), until("2026-12-30 00:00")],
        ["2026-12-24 10:00 t/a defer quiet", "2026-12-27 00:00 t/a drop quiet"],
        start="2026-12-20 00:00",
    ),
    SettledCase(
        25,
        "a cap's deferral ends in a period that drops",
        PING + "cap: {max: 1, per: 1h, over: defer}\nquiet: {from: '11:00', to: '12:00', over: drop}\nsend: a\n",
        [event("2026-01-05 10:10"), event("2026-01-05 10:20"), until("2026-01-06 00:00")],
        ["2026-01-05 10:10 t/a send", "2026-01-05 10:20 t/a defer cap", "2026-01-05 11:10 t/a drop quiet"],
    ),
    *(
        SettledCase(
            27,
            f"a send waits for the user's first profile, which comes {when}",
            rule + "send: a\n",
            [event("2026-01-05 10:00"), profile(f"2026-01-05 {comes}"), until("2026-01-05 10:05")],
            [f"2026-01-05 {decision}" for decision in decided],
            profile={"known": False},
        )
        for when, rule, comes, decided in (
            ("in time", PING, "10:00:01", ["10:00 t/a defer profile_unknown", "10:00:01 t/a send"]),
            (
                "too late",
                PING,
                "10:00:31",
                ["10:00 t/a defer profile_unknown", "10:00:30 t/a drop profile_unknown"],
            ),
            (
                "before the expiry",
                PING + "expires: 10s\n",
                "10:00:09",
                ["10:00 t/a defer profile_unknown", "10:00:09 t/a send"],
            ),
            (
                "after the expiry",
                PING + "expires: 10s\n",
                "10:00:15",
                ["10:00 t/a defer profile_unknown", "10:00:10 t/a drop expired"],
            ),
            ("after a transactional one", PING.replace("marketing", "transactional"), "10:00:01", ["10:00 t/a send"]),
        )
    ),
    SettledCase(
        28,
        "a brand's consent is its own, in both directions",
        OF_BRANDS,
        [event("2026-01-05 10:00"), outcome("2026-01-05 11:00", "unsubscribed"), event("2026-01-05 12:00")],
        [
            *("2026-01-05 10:00 o/a drop no_consent", "2026-01-05 10:00 p/a send", "2026-01-05 10:00 s/a send"),
            *("2026-01-05 12:00 o/a drop no_consent", "2026-01-05 12:00 p/a drop no_consent"),
            "2026-01-05 12:00 s/a send",
        ],
        profile={"consent": ("news", "shop/news", "outlet/offers")},
    ),
    SettledCase(
        29,
        "a cap over a brand counts its every purpose",
        OF_BRANDS + "---\npolicy: calm\nfor: {}\ncap: {max: 1, per: 1d, scope: brand}\n",
        [event("2026-01-05 10:00"), event("2026-01-05 10:01", "pong")],
        [
            *("2026-01-05 10:00 o/a send", "2026-01-05 10:00 p/a send", "2026-01-05 10:00 s/a send"),
            "2026-01-05 10:01 other/a drop cap",
        ],
        profile={"consent": ("news", "shop/news", "outlet/news", "shop/offers")},
    ),
    SettledCase(
        29,
        "a cap over a purpose counts it in every brand",
        OF_BRANDS + "---\npolicy: calm\nfor: {}\ncap: {max: 1, per: 1d, scope: purpose}\n",
        [event("2026-01-05 10:00"), event("2026-01-05 10:01", "pong")],
        [
            *("2026-01-05 10:00 o/a send", "2026-01-05 10:00 p/a drop cap", "2026-01-05 10:00 s/a drop cap"),
            "2026-01-05 10:01 other/a send",
        ],
        profile={"consent": ("news", "shop/news", "outlet/news", "shop/offers")},
    ),
]
