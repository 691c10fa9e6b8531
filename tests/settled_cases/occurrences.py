"""What begins, ends and names an occurrence: events, timers, edits, late and repeated events, slots and dates."""

from settled_cases.case import SettledCase, edit, event, profile, until

PING = "trigger: t\npurpose: marketing\non: ping\n"
OTHER = PING.replace("trigger: t", "trigger: other") + "send: a\n"
DAILY = 'trigger: t\npurpose: marketing\non: {every: day, at: "%s"}\nsend: a\n'
CART = """
trigger: t
purpose: marketing
on: cart_updated
key: event.cart
after: 1h
unless: {event: ordered, same: cart}
send: a
"""
WAITS = """
trigger: t
purpose: marketing
on: cart_updated
key: event.cart
steps: [{wait_for: {event: ordered, same: cart}, up_to: 1h, then: [{send: a}], else: [{send: b}]}]
"""
NIGHT = 'quiet: {from: "21:00", to: "08:00"}\n'
BERLIN = {"zone": "Europe/Berlin"}

CASES = [
    SettledCase(
        4,
        "a slot that does not exist is the jump",
        DAILY % "02:30",
        [until("2026-03-30 12:00")],
        ["2026-03-29 01:00 t/a send", "2026-03-30 00:30 t/a send"],
        start="2026-03-28 12:00",
        profile=BERLIN,
        occurrences=['["2026-03-29"]', '["2026-03-30"]'],
    ),
    SettledCase(
        4,
        "a slot that comes twice is the first",
        DAILY % "02:30",
        [until("2026-10-26 12:00")],
        ["2026-10-25 00:30 t/a send", "2026-10-26 01:30 t/a send"],
        start="2026-10-24 12:00",
        profile=BERLIN,
        occurrences=['["2026-10-25"]', '["2026-10-26"]'],
    ),
    SettledCase(
        6,
        "an event at the instant of a timer goes first",
        CART,
        [
            event("2026-01-05 10:00", "cart_updated", cart="c1"),
            event("2026-01-05 11:00", "ordered", cart="c1"),
            until("2026-01-05 12:00"),
        ],
        [],
    ),
    SettledCase(
        6,
        "an event at the instant at which a wait for it is over satisfies it",
        WAITS,
        [
            event("2026-01-05 10:00", "cart_updated", cart="c1"),
            event("2026-01-05 10:00", "cart_updated", cart="c2"),
            event("2026-01-05 11:00", "ordered", cart="c1"),
            until("2026-01-05 12:00"),
        ],
        ["2026-01-05 11:00 t/a send", "2026-01-05 11:00 t/b send"],
    ),
    *(
        SettledCase(
            7,
            f"an order at the entry's own instant ends it where the {first} event comes first",
            CART,
            [
                event("2026-01-05 10:00", first, cart="c1"),
                event("2026-01-05 10:00", second, cart="c1"),
                event("2026-01-05 10:00", "cart_updated", cart="c2"),
                until("2026-01-05 12:00"),
            ],
            ["2026-01-05 11:00 t/a send"],
        )
        for first, second in (("cart_updated", "ordered"), ("ordered", "cart_updated"))
    ),
    SettledCase(
        7,
        "an order before the entry, or of another cart, ends nothing",
        CART,
        [
            event("2026-01-05 09:59", "ordered", cart="c1"),
            event("2026-01-05 10:00", "ordered", cart="c2"),
            event("2026-01-05 10:00", "cart_updated", cart="c1"),
            until("2026-01-05 12:00"),
        ],
        ["2026-01-05 11:00 t/a send"],
    ),
    SettledCase(
        7,
        "an order before a slot ends nothing that the slot begins",
        DAILY.replace("send", "unless: ordered\nsend") % "09:00",
        [event("2026-01-05 08:59:59.999", "ordered"), until("2026-01-05 12:00")],
        ["2026-01-05 09:00 t/a send"],
    ),
    SettledCase(
        7,
        "an order at a slot's own instant ends what the slot begins",
        DAILY.replace("send", "unless: ordered\nsend") % "09:00",
        [event("2026-01-05 09:00", "ordered"), until("2026-01-05 12:00")],
        [],
    ),
    SettledCase(
        7,
        "an order at the instant of a crossing ends what the crossing begins",
        "trigger: t\npurpose: marketing\non: {event: view, inactive: 1h}\nunless: ordered\nsend: a\n",
        [
            event("2026-01-05 10:00", "view"),
            event("2026-01-05 11:00", "ordered"),
            event("2026-01-05 12:00", "view"),
            event("2026-01-05 12:59:59.999", "ordered"),
            until("2026-01-05 14:00"),
        ],
        ["2026-01-05 13:00 t/a send"],
    ),
    SettledCase(
        7,
        "what makes a level rise does not end what the rise begins",
        "trigger: t\npurpose: marketing\non: {event: ordered, within: 1h, reaches: 2}\nunless: ordered\nsend: a\n",
        [event("2026-01-05 10:00", "ordered"), event("2026-01-05 10:30", "ordered")],
        ["2026-01-05 10:30 t/a send"],
    ),
    SettledCase(
        10,
        "a held send is planned anew for the night of the new zone",
        PING + NIGHT + "send: a\n",
        [event("2026-01-05 22:00"), profile("2026-01-06 02:00", zone="America/New_York"), until("2026-01-07 00:00")],
        [
            "2026-01-05 22:00 t/a defer quiet",
            "2026-01-06 02:00 t/a defer quiet",
            "2026-01-06 13:00 t/a send",
        ],
        profile=BERLIN,
    ),
    SettledCase(
        10,
        "a held send leaves at once where it is day in the new zone",
        PING + NIGHT + "send: a\n",
        [event("2026-01-05 23:00"), profile("2026-01-06 03:00", zone="Asia/Tokyo")],
        ["2026-01-05 23:00 t/a defer quiet", "2026-01-06 03:00 t/a send"],
    ),
    SettledCase(
        10,
        "a slot that fired for a local date does not fire for it again",
        DAILY % "09:00",
        [
            until("2026-01-05 09:00"),
            profile("2026-01-05 10:00", zone="America/New_York"),  # where it is 05:00 of the same Monday
            until("2026-01-06 20:00"),
        ],
        ["2026-01-05 08:00 t/a send", "2026-01-06 14:00 t/a send"],
        profile=BERLIN,
    ),
    SettledCase(
        10,
        "earlier sends count by their instants in the new zone's weeks",
        PING + "cap: {max: 1, per: calendar week}\nsend: a\n",
        [
            event("2026-01-12 01:00"),  # Sunday 20:00 in New York, Monday in Auckland
            event("2026-01-13 12:00"),
            profile("2026-01-13 13:00", zone="Pacific/Auckland"),
            event("2026-01-13 14:00"),
        ],
        ["2026-01-12 01:00 t/a send", "2026-01-13 12:00 t/a send", "2026-01-13 14:00 t/a drop cap"],
        profile={"zone": "America/New_York"},
    ),
    SettledCase(
        12,
        "what falls due while its rule is off is dropped and not kept",
        PING + "after: 1h\nmode: off\nsend: a\n",
        [event("2026-01-05 10:00"), until("2026-01-06 00:00")],
        ["2026-01-05 11:00 t/a drop mode"],
    ),
    SettledCase(
        12,
        "an edited rule leaves what runs its steps, its delay and what ends it",
        CART,
        [
            event("2026-01-05 10:00", "cart_updated", cart="c1"),
            event("2026-01-05 10:00", "cart_updated", cart="c2"),
            edit("2026-01-05 10:15", CART.replace("1h", "5h").replace("send: a", "send: b").replace("unless", "# un")),
            event("2026-01-05 10:30", "ordered", cart="c1"),
            until("2026-01-05 12:00"),
        ],
        ["2026-01-05 11:00 t/a send"],
    ),
    *(
        SettledCase(
            12,
            f"what waits when its rule is {what} is dropped",
            before,
            [
                event("2026-01-05 10:00", "cart_updated", cart="c1"),
                edit("2026-01-05 10:30", after),
                until("2026-01-05 12:00"),
            ],
            [f"2026-01-05 {dropped}"],
        )
        for what, before, after, dropped in (
            ("removed", CART, OTHER, "11:00 t/a drop withdrawn"),
            ("removed though it said follow", CART + "on_edit: follow\n", OTHER, "11:00 t/a drop withdrawn"),
            ("switched off", CART, CART + "mode: off\n", "11:00 t/a drop mode"),
        )
    ),
    *(
        SettledCase(
            12,
            f"what follows an edit {what}",
            PING + "steps: [{send: a}, {wait: 3d}, {send: b}]\n",
            [
                event("2026-01-05 10:00"),
                edit("2026-01-06 10:00", PING + f"on_edit: follow\nsteps: [{steps}]\n"),
                until("2026-01-12 00:00"),
            ],
            ["2026-01-05 10:00 t/a send", *(f"2026-01-{sent} send" for sent in decided)],
        )
        for what, steps, decided in (
            ("computes its wait again from when it began", "{send: a}, {wait: 2d}, {send: b}", ["07 10:00 t/b"]),
            ("is due at once where the new wait is over", "{send: a}, {wait: 1h}, {send: b}", ["06 10:00 t/b"]),
            ("stands behind the last send", "{send: c}, {send: a}, {send: b}", ["06 10:00 t/b"]),
            ("begins at its entry if it passed no send that is there", "{wait: 2d}, {send: c}", ["07 10:00 t/c"]),
        )
    ),
    *(
        SettledCase(
            13,
            title,
            CART + settle,
            [
                event("2026-01-05 10:00", "cart_updated", cart="c1"),
                event("2026-01-05 10:59:50", "ordered", arrives=f"2026-01-05 {arrives}", cart="c1"),
                until("2026-01-05 12:00"),
            ],
            decided,
        )
        for title, settle, arrives, decided in (
            ("what is decided stands when an earlier event comes late", "", "11:00:30", ["2026-01-05 11:00 t/a send"]),
            ("a late event counts within the time to settle", "settle: 1m\n", "11:00:30", []),
            ("and not after it", "settle: 1m\n", "11:01:01", ["2026-01-05 11:01 t/a send"]),
        )
    ),
    *(
        SettledCase(
            13,
            title,
            WAITS + settle,
            [
                event("2026-01-05 10:00", "cart_updated", cart="c1"),
                event("2026-01-05 10:59:50", "ordered", arrives=f"2026-01-05 {arrives}", cart="c1"),
                until("2026-01-05 12:00"),
            ],
            decided,
        )
        for title, settle, arrives, decided in (
            ("a wait that is over stays over", "", "11:00:30", ["2026-01-05 11:00 t/b send"]),
            (
                "what comes within the time to settle satisfies it",
                "settle: 1m\n",
                "11:00:30",
                ["2026-01-05 11:00:50 t/a send"],
            ),
            ("and what comes after it does not", "settle: 1m\n", "11:01:01", ["2026-01-05 11:01 t/b send"]),
        )
    ),
    SettledCase(
        16,
        "a restart after the first step does not send it twice",
        PING + "key: event.k\nsteps: [{send: a}, {wait: 1d}, {send: b}]\n",
        [event("2026-01-05 10:00", k="x"), event("2026-01-05 20:00", k="x"), until("2026-01-08 00:00")],
        ["2026-01-05 10:00 t/a send", "2026-01-05 20:00 t/a drop duplicate", "2026-01-06 20:00 t/b send"],
    ),
    SettledCase(
        17,
        "an event id that comes again after a day begins again under the same command",
        PING + "max_age: 3d\nsend: a\n",
        [
            event("2026-01-05 10:00", event_id="same", arrives=arrives)
            for arrives in ("2026-01-05 10:00", "2026-01-06 09:59:59", "2026-01-06 10:00")
        ],
        ["2026-01-05 10:00 t/a send", "2026-01-06 10:00 t/a drop duplicate"],
    ),
    *(
        SettledCase(
            26,
            f"a plain date is the local day in {zone}",
            'trigger: t\npurpose: marketing\non: {date: user.birthday, yearly: true, at: "10:00"}\nsend: a\n',
            [until("2026-05-05 00:00")],
            [f"2026-05-{sent} t/a send"],
            start="2026-05-01 00:00",
            profile={"zone": zone, "birthday": "1990-05-03"},
        )
        for zone, sent in (
            ("UTC", "03 10:00"),
            ("Europe/Berlin", "03 08:00"),
            ("Pacific/Kiritimati", "02 20:00"),
            ("Pacific/Niue", "03 21:00"),
        )
    ),
]
