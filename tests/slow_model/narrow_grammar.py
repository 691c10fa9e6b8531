"""Rule sets of one kind each, drawn from few choices, so that what they do meets more often than in mixed sets."""

import orjson
from hypothesis import strategies as st
from slow_model.grammar import (
    BRANDS,
    Node,
    file_of,
    lengths,
    maybe,
    nodes,
    overs,
    scores,
    some,
    types,
    ways,
    wheres,
    wider,
    zones,
)

cap_scopes = st.sampled_from(["trigger", "key", "purpose", "channel", "all"])
modes = st.sampled_from(["live", "live", "shadow", "canary 50%"])


@st.composite
def shared_caps(draw: st.DrawFn) -> str:
    """Rules that send, and rules that only record, under one cap of a policy and caps of their own."""

    def tight(scopes: st.SearchStrategy[str]) -> st.SearchStrategy[Node]:
        return st.builds(
            lambda cap, over: {**cap, **over},
            nodes(
                max=st.sampled_from([1, 1, 2]),
                per=st.sampled_from(["1h", "1d", "calendar day", "calendar week"]),
                scope=scopes,
            ),
            overs,
        )

    of_policy = tight(st.one_of(cap_scopes, st.just("brand")))
    policy = nodes(policy=st.just("one"), for_=st.just({}), cap=of_policy, holdout=maybe(st.just("30%")))
    documents: list[Node] = [*BRANDS, draw(policy)]
    for name in ("k", "l", "m"):
        rule = nodes(
            trigger=st.just(name),
            purpose=st.sampled_from(["marketing", "marketing", "news"]),
            brand=maybe(st.sampled_from(["shop", "shop", "outlet"]), 2),
            mode=modes,
            on=types,
            key=maybe(st.just("event.k"), 2),
            after=maybe(lengths),
            cap=maybe(tight(cap_scopes)),
            holdout=maybe(st.just("50%")),
            quiet=maybe(nodes(from_=st.just("21:00"), to=st.just("08:00"))),
            expires=maybe(st.just("3d"), 2),
            steps=st.sampled_from([[{"send": "a"}], [{"send": "a"}, {"wait": "1h"}, {"send": "b"}]]),
        )
        documents.append(draw(rule))
    return file_of(documents)


@st.composite
def waiting_rules(draw: st.DrawFn) -> str:
    """Rules that wait, and most of whose `unless` listen by `same`, so that events without a user meet them."""
    documents = []
    heard = st.sampled_from(["buy", "view"])
    same = st.sampled_from(["k", "k", ["k", "n"]])
    listened = st.one_of(*[nodes(event=heard, where=maybe(st.one_of(wheres, wider), 4), same=same)] * 3, heard)
    for name in ("k", "l")[: draw(st.integers(1, 2))]:
        rule = nodes(
            trigger=st.just(name),
            purpose=st.sampled_from(["marketing", "marketing", "transactional"]),
            on=some(st.sampled_from(["ping", "buy"])),
            key=maybe(st.just("event.k"), 2),
            overlap=maybe(st.just("ignore")),
            after=maybe(st.sampled_from(["10m", "30m", "1h", "6h", "1d"]), 2),
            unless=maybe(some(listened), 2),
            quiet=maybe(nodes(from_=st.just("21:00"), to=st.just("08:00"))),
            expires=maybe(st.just("3d"), 2),
            steps=st.one_of(
                st.sampled_from([[{"send": "a"}], [{"send": "a"}, {"wait": "1h"}, {"send": "b"}]]),
                nodes(
                    wait_for=listened, up_to=lengths, then=st.just([{"send": "b"}]), else_=maybe(st.just(["exit"]))
                ).map(lambda step: [step, {"send": "a"}]),
            ),
        )
        documents.append(draw(rule))
    return file_of(documents)


@st.composite
def mixed_quiets(draw: st.DrawFn) -> str:
    """One rule with quiet periods that defer and quiet periods that drop, by the user's clock and by fixed ones.

    The daily ones are so short that they never fill a day.
    """
    over = maybe(st.just("drop"), 2)
    begins_ends = st.sampled_from([("22:00", "03:00"), ("00:00", "02:30"), ("02:30", "03:30"), ("12:00", "16:00")])
    daily = begins_ends.flatmap(lambda two: nodes(from_=st.just(two[0]), to=st.just(two[1]), over=over, zone=zones))
    days = st.sampled_from(["2026-01-05", "2026-01-06", "2026-03-29", "2026-10-25", "2026-12-30", "2027-01-01"])
    dated = days.flatmap(lambda day: nodes(from_=st.just(day), through=st.just(day), over=over, zone=zones))
    rule = nodes(
        trigger=st.just("k"),
        purpose=st.just("marketing"),
        on=st.just(["ping", "buy", "view"]),
        quiet=st.lists(st.one_of(daily, daily, dated), min_size=2, max_size=4),
        cap=maybe(nodes(max=st.just(1), per=lengths, over=maybe(st.just("defer"), 2)), 2),
        expires=st.sampled_from(["6h", "3d", "9d"]),
        after=maybe(lengths),
        send=st.just("a"),
    )
    return file_of([draw(rule)])


@st.composite
def coincidences(draw: st.DrawFn) -> str:
    """Rules over levels whose events come on the stroke of an hour, so that one leaves as another comes."""
    documents: list[Node] = []
    for name in ("s", "t"):
        curve = draw(st.sampled_from([{"curve": "step", "lifetime": "1h"}, {"curve": "linear", "lifetime": "2h"}]))
        add = draw(nodes(event=st.sampled_from(["ping", "buy"]), points=st.sampled_from(["1", "event.n"])))
        documents.append({"score": name, "decay": curve, "add": add})
    strokes = st.sampled_from(["30m", "1h", "2h", "calendar day"])
    measures = st.sampled_from([{}, {}, {"sum": "event.n"}, {"distinct": "event.k"}])
    for number, name in enumerate(("k", "l", "m")):
        kind = draw(st.sampled_from(["window", "window", "score", "inactive"]))
        if kind == "score":
            source = {"score": draw(st.sampled_from(["s", "t"])), **draw(ways)}
        elif kind == "inactive":
            source = {"event": "ping", "inactive": draw(st.sampled_from(["30m", "1h"]))}
        else:
            source = {"event": "ping", **draw(measures), "within": draw(strokes), **draw(ways)}
        documents.append({"trigger": name, "purpose": "marketing", "on": source, "send": "abc"[number]})
    return file_of(documents)


@st.composite
def segment_rules(draw: st.DrawFn) -> str:
    """Segments of all kinds, with rules that begin when they are entered and left."""
    documents = [draw(scores("s"))]
    for name, within in (("m", "ever"), ("d", "1d")):
        documents.append(draw(nodes(metric=st.just(name), event=types, where=maybe(wheres), within=st.just(within))))
    texts = ["now - metric.m.last > hours(1)", "now - metric.m.first > hours(20)", "now >= timestamp(user.trial)"]
    texts += [
        "score.s < 0.5 && now > metric.m.last",
        "metric.d.count >= 2",
        "metric.d.count == 0 && metric.m.count > 0",
    ]
    texts += ["user.vip == true && now - metric.m.last > hours(1)", "score.s >= 0.6"]
    for name, segment in (("k", "q"), ("l", "r")):
        documents.append({"segment": segment, "when": draw(st.sampled_from(texts))})
        sources = [{"enters": segment}, {"leaves": segment}]
        documents.append({"trigger": name, "purpose": "marketing", "on": sources, "send": "a"})
    return file_of(documents)


UNRELATED = [
    {"trigger": "off", "purpose": "marketing", "mode": "off", "on": ["ping", "buy", "view"], "send": "a"},
    {"trigger": "ends", "purpose": "marketing", "on": "nothing", "unless": ["ping", "buy", "view"], "send": "a"},
    {"metric": "other", "event": ["ping", "buy", "view"], "within": "1h"},
    {"segment": "others", "when": 'metric.other.count >= 1 && now > timestamp("2026-01-05T06:00:00Z")'},
]


def beside(text: str) -> str:
    """The rules of a text with others that hear every event and send nothing."""
    return "\n---\n".join([text, *(orjson.dumps(each).decode() for each in UNRELATED)])
