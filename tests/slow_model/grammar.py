"""Small rule sets, drawn by hypothesis from a grammar of mixed kinds.

Durations come from the one short list that the gaps of histories come from: windows, waits and events meet.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson
from hypothesis import strategies as st

TEMPLATES = {name: name * 32 for name in "abc"}
LENGTHS = ["10m", "30m", "1h", "6h", "1d"]
Node = dict[str, Any]


lengths = st.sampled_from(LENGTHS)
types = st.sampled_from(["ping", "buy", "view"])
lines = st.sampled_from([1, 2, 3])
wheres = st.sampled_from(
    ["event.n > 1", "event.n <= 1", 'event.k == "x"', "has(event.n)", 'event.n > 0 || event.k == "y"']
)

wider = st.sampled_from(["event.n > 1 && user.vip == true", 'user.limit > 1 && (event.k == "x" && event.n < 3)'])
"""Only a part of each of these reads nothing but the event."""


def maybe(strategy: st.SearchStrategy[Any], one_in: int = 3) -> st.SearchStrategy[Any]:
    """Something, now and then; None means that the key is left out."""
    return st.one_of(*[st.none()] * (one_in - 1), strategy)


def nodes(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    """A mapping without the keys that came out as None. `from_` is `from`."""
    named = {key.rstrip("_"): strategy for key, strategy in keys.items()}
    return st.fixed_dictionaries(named).map(lambda node: {k: node[k] for k in named if node[k] is not None})


def some(strategy: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[Any]:
    """One of them, or a list."""
    return st.one_of(strategy, st.lists(strategy, min_size=1, max_size=most))


sources_of_events = st.one_of(types, nodes(event=types, where=maybe(st.one_of(wheres, wider), 2)))

# what begins ---------------------------------------------------------------------------------------------------------


def _way(line: float, rearm: float, falls: bool) -> Node:
    low, high = min(line, rearm), max(line, rearm)
    return {"falls_below": low, "rearm": high} if falls else {"reaches": high, "rearm": low}


ways = st.builds(_way, lines, lines, st.booleans())
score_ways = st.builds(_way, st.sampled_from([0.3, 0.7, 1]), st.sampled_from([0.3, 0.9, 1.1, 2.5]), st.booleans())
windows = st.one_of(lengths, st.sampled_from(["calendar day", "calendar week", "calendar month"]))


@st.composite
def crossings(draw: st.DrawFn) -> Node:
    """A count, sum or number of different values within a window, a score, or inactivity."""
    kind = draw(st.sampled_from(["count", "score", "inactive"]))
    if kind == "score":
        return {"score": draw(st.sampled_from(["s", "t"])), **draw(score_ways)}
    node: Node = draw(nodes(event=types, where=maybe(wheres)))
    if kind == "inactive":
        return {**node, "inactive": draw(lengths)}
    measure = draw(st.sampled_from([{}, {"sum": "event.n"}, {"distinct": "event.n"}, {"distinct": "event.k"}]))
    groups = draw(st.sampled_from([{}, {}, {"same": "k"}]))
    return {**node, **groups, **measure, "within": draw(windows), **draw(ways)}


zones = maybe(st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]))
clocks = st.sampled_from(["00:00", "02:30", "08:00", "21:00"])
weekdays = st.sampled_from(["mon", "sat", "sunday"])
schedules = st.one_of(
    nodes(every=st.one_of(st.just("day"), some(weekdays)), at=clocks, zone=zones),
    nodes(every=st.just("month"), day=st.sampled_from([1, 28, "last"]), at=clocks, zone=zones),
)
moments = st.sampled_from(["timestamp(user.trial)", "timestamp(user.born)", "user.born", "user.trial"])
dates = st.one_of(
    nodes(date=moments, before=st.sampled_from(["1d", "2d"]), at=clocks, yearly=maybe(st.just(True)), zone=zones),
    nodes(date=moments, after=st.sampled_from(["1h", "1d"]), yearly=maybe(st.just(True)), zone=zones),
)
chains = st.lists(sources_of_events, min_size=2, max_size=3)
sequences = nodes(sequence=chains, within=lengths, same=maybe(st.just("k")))
borders = st.one_of(
    nodes(enters=st.sampled_from(["q", "r"])),
    nodes(leaves=st.sampled_from(["q", "r"])),
)


def sources() -> st.SearchStrategy[Any]:
    """One source of any kind."""
    kinds = [sources_of_events, sources_of_events, crossings()]
    return st.one_of(*kinds, schedules, dates, sequences, borders)


# the rest of a rule --------------------------------------------------------------------------------------------------

quiets = st.one_of(
    nodes(from_=clocks, to=st.sampled_from(["02:00", "03:30", "09:00"]), over=maybe(st.just("drop")), zone=zones),
    nodes(from_=st.just("20:00"), to=st.just("07:00"), days=st.lists(weekdays, min_size=1, max_size=2, unique=True)),
    nodes(from_=st.just("2026-03-29"), through=st.just("2026-03-30"), zone=zones),
    nodes(from_=st.just("2026-10-25"), through=st.just("2026-10-25"), over=maybe(st.just("drop"))),
)
overs = st.sampled_from(
    [{}, {}, {"over": "defer"}, {"over": "defer", "spread": "10m"}, {"over": "defer", "spread": "6h"}]
)
caps = st.builds(
    lambda cap, over: {**cap, **over},
    nodes(
        max=st.sampled_from([1, 1, 2, "user.limit"]),
        per=windows,
        scope=maybe(st.sampled_from(["trigger", "key", "purpose", "channel", "all"]), 2),
    ),
    overs,
)


caps_of_brands = nodes(
    max=st.sampled_from([1, 1, 2]),
    per=windows,
    scope=st.sampled_from(["brand", "brand", "purpose", "all"]),
    over=maybe(st.just("defer"), 2),
)
BRANDS: list[Node] = [{"brand": name, "from": f"{name}@{name}.example"} for name in ("shop", "outlet")]


def conditions(has_event: bool) -> st.SearchStrategy[str]:
    """Conditions of `when` and `if`; without an entry event they read none."""
    texts = ["score.s >= 0.6", "user.vip == true", "user.limit > 1 && !(score.t < 0.3)"]
    texts += ["event.n > 1", 'event.k != "x"', "now > event.time"] if has_event else []
    texts += ["metric.m.count >= 2", "metric.m.sum < 3", "metric.d.distinct == 1"]
    texts += ["metric.m.last.getHours() / (metric.m.count - 1) >= 6", "size(user.id) % 2 == metric.m.count % 2"]
    texts += ["now.getHours() / 6 * score.s > 1 + user.limit / 2"]
    texts += ["segment.q", "!segment.r"]
    return st.sampled_from(texts)


def waits() -> st.SearchStrategy[Any]:
    """A wait, in each of its forms."""
    ends = ["timestamp(user.trial)", "user.trial", "timestamp(user.trial) - hours(1)"]
    return st.one_of(lengths, nodes(until=st.sampled_from(ends)), schedules)


def listened(has_event: bool) -> st.SearchStrategy[Any]:
    """What `unless` and `wait_for` take."""
    same = maybe(st.just("k")) if has_event else st.none()
    return st.one_of(types, nodes(event=types, where=maybe(st.one_of(wheres, wider)), same=same))


@st.composite
def steps(draw: st.DrawFn, has_event: bool) -> list[Any]:
    """Up to three sends with waits, a branch, a wait for an event or an end between them."""
    found: list[Any] = [{"send": {"template": "a", "id": "one"}}]
    for name in draw(st.sampled_from([(), ("two",), ("two", "three")])):
        found += [{"wait": draw(waits())}] if draw(st.booleans()) else []
        send = {
            "send": {**draw(st.sampled_from([{"template": "b"}, {"template": "b"}, {"webhook": "crm"}])), "id": name}
        }
        branch: Node = {
            "plain": {},
            "then": {"then": [send]},
            "else": {"then": [send], "else": [{"wait": draw(lengths)}]},
            "exit": {"then": ["exit"], "else": [send]},
        }[draw(st.sampled_from(["plain", "then", "else", "exit"]))]
        if not branch:
            found.append(send)
        elif draw(st.booleans()):
            found.append({"if": draw(conditions(has_event)), **branch})
        else:
            found.append({"wait_for": draw(listened(has_event)), "up_to": draw(waits()), **branch})
    return found


_GATHERED = ["size(occurrence.events)", "occurrence.events[1].n", "occurrence.events[0].id", "occurrence.matched.n"]
_ON_THE_WAY = ["has(occurrence.matched)", "occurrence.matched.n > 1", "has(occurrence.matched.n)", "event.n > 0"]


@st.composite
def journey_part(draw: st.DrawFn, reads: list[str], depth: int = 2) -> list[Any]:
    """Steps of all kinds, nested; most of them wait for events."""
    kinds = ["send", "send", "wait", *["wait_for"] * 4, "if", "exit"] if depth else ["send", "send", "wait", "exit"]
    found: list[Any] = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        if kind == "send":
            read = draw(maybe(st.sampled_from(reads)))
            found.append({"send": {"template": "a"} | ({"data": {"n": read}} if read else {})})
        elif kind == "wait":
            found.append({"wait": draw(waits())})
        elif kind == "exit":
            found.append("exit")
        else:
            part = journey_part(reads, depth - 1)
            parts = nodes(then=maybe(part, 2), else_=maybe(part, 2))
            if kind == "if":
                then = {"then": draw(part), "if": draw(st.sampled_from(_ON_THE_WAY))}
                found.append(draw(parts) | then)
            else:
                found.append({"wait_for": draw(listened(True)), "up_to": draw(waits())} | draw(parts))
    return found


def _numbered(listed: list[Any], numbers: Iterator[int]) -> list[Any]:
    """The steps with an id for each send."""
    for step in listed:
        if isinstance(step, dict):
            if "send" in step:
                step["send"]["id"] = f"s{next(numbers)}"
            for part in ("then", "else"):
                _numbered(step.get(part, []), numbers)
    return listed


@st.composite
def journey_steps(draw: st.DrawFn, reads: list[str]) -> list[Any]:
    """The steps of one journey, with at least one wait for an event and one send."""
    wait: Node = {"wait_for": draw(listened(True)), "up_to": draw(waits())}
    return _numbered([*draw(journey_part(reads)), wait, {"send": {"template": "b"}}], count())


@st.composite
def triggers(draw: st.DrawFn, name: str) -> Node:
    """One trigger."""
    begins = draw(some(sources()))
    has_event = _has_event({"on": begins})
    same = maybe(st.just("k")) if has_event else st.none()
    keys = st.sampled_from(["event.k", ["event.k", "event.n"], "user.id"] if has_event else ["user.id"])
    brand = draw(maybe(st.sampled_from(["shop", "shop", "outlet"]), 2))
    node = draw(
        nodes(
            trigger=st.just(name),
            purpose=st.sampled_from(["marketing", "marketing", "news", "transactional"]),
            brand=st.just(brand),
            mode=maybe(st.sampled_from(["shadow", "canary 50%", "off"]), 9),
            on=st.just(begins),
            key=maybe(keys, 2),
            overlap=maybe(st.just("ignore")),
            reentry=maybe(st.one_of(st.just("never"), lengths)),
            cap=maybe(some(caps if brand is None else st.one_of(caps, caps_of_brands)), 2),
            quiet=maybe(some(quiets)),
            expires=maybe(st.sampled_from(["30m", "6h", "3d"]), 2),
            max_age=maybe(st.sampled_from(["10m", "1h", "3d"])),
            settle=maybe(st.sampled_from(["1s", "10m"])),
            priority=maybe(st.sampled_from([40, 60])),
            holdout=maybe(st.just("50%"), 6),
            goal=maybe(nodes(event=types, within=lengths, same=same), 4),
        )
    )
    if "key" in node and draw(st.integers(0, 3)) == 0:
        node["overlap"] = "gather"
    return node | draw(kept_parts(has_event))


@st.composite
def kept_parts(draw: st.DrawFn, has_event: bool) -> Node:
    """What occurrences that run keep when their rule is edited."""
    node = draw(
        nodes(
            after=maybe(waits(), 2),
            unless=maybe(some(listened(has_event))),
            when=maybe(conditions(has_event), 4),
            experiment=maybe(st.just({"variants": {"p": 1, "q": 2}}), 6),
        )
    )
    data = "event.n" if has_event else "score.s"
    alone = st.sampled_from(["a", "a", {"webhook": "crm"}, {"webhook": "crm", "data": {"n": data}}])
    return node | draw(st.one_of(nodes(send=alone), steps(has_event).map(lambda listed: {"steps": listed})))


_KEPT = ("after", "unless", "when", "experiment", "send", "steps")


def _has_event(trigger: Node) -> bool:
    return any(isinstance(each, str) or set(each) <= {"event", "where"} for each in _listed(trigger["on"]))


def _listed(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [node]


curves = st.sampled_from(
    [
        {"curve": "exponential", "half_life": "1h"},
        {"curve": "linear", "lifetime": "6h"},
        {"curve": "step", "lifetime": "1h"},
        {"curve": "power", "scale": "1h", "exponent": 1.5},
    ]
)
additions = nodes(event=types, where=maybe(wheres), points=st.sampled_from(["1", "event.n", "0.7"]))


@st.composite
def scores(draw: st.DrawFn, name: str) -> Node:
    """One score."""
    ceiling = draw(maybe(st.just(2.6)))
    node = {"score": name, "decay": draw(curves), "add": draw(some(additions))}
    return node if ceiling is None else {**node, "ceiling": ceiling}


policies = nodes(
    policy=st.sampled_from(["one", "two"]),
    for_=st.sampled_from(
        [
            *({}, {"purpose": "marketing"}, {"channel": "email"}, {"purpose": "transactional"}),
            *({"brand": "shop"}, {"brand": "shop", "purpose": "marketing"}),
        ]
    ),
    cap=maybe(st.one_of(caps.map(lambda cap: {"scope": "all", **cap}), caps_of_brands), 2),
    quiet=maybe(quiets),
    holdout=maybe(st.just("30%"), 6),
    expires=st.sampled_from(["1h", "2d"]),
)


def _metrics(draw: st.DrawFn) -> list[Node]:
    within = st.one_of(windows, st.just("ever"))
    counted = draw(nodes(metric=st.just("m"), event=types, where=maybe(wheres), within=within, sum=st.just("event.n")))
    return [counted, draw(nodes(metric=st.just("d"), event=types, within=within, distinct=st.just("event.k")))]


def _segments(draw: st.DrawFn) -> list[Node]:
    texts = ["user.vip == true", "score.s >= 0.6", "score.s < 0.3", "user.vip == true && score.s >= 0.6"]
    texts += ["metric.m.count >= 2", "metric.d.distinct == 0", "metric.m.count % 2 == 1"]
    texts += ["now >= timestamp(user.trial)", "now - metric.m.last > hours(9)", "score.s < 0.5 && now > metric.d.last"]
    return [{"segment": name, "when": draw(st.sampled_from(texts))} for name in ("q", "r")]


@st.composite
def rule_sets(draw: st.DrawFn) -> str:
    """A file of one to three triggers with scores and policies, and what else is on."""
    documents = _definitions(draw)
    documents += [draw(triggers(name)) for name in ("k", "l", "m")[: draw(st.integers(1, 3))]]
    documents += draw(st.lists(policies, max_size=2, unique_by=lambda policy: policy["policy"]))
    return file_of(documents)


_on_edit = nodes(on_edit=maybe(st.sampled_from(["pin", "follow", "follow"]), 2))


@st.composite
def editions(draw: st.DrawFn) -> tuple[str, str]:
    """A file of two triggers, and the same in which one is edited or was taken out."""
    definitions, triggers_ = _definitions(draw), [draw(triggers(name)) for name in ("k", "l")]
    edited = {key: value for key, value in triggers_[0].items() if key not in _KEPT}
    edited |= draw(kept_parts(_has_event(triggers_[0]))) | draw(_on_edit)
    following = draw(st.sampled_from([[edited], [edited], [edited], []]))
    return file_of([*definitions, *triggers_]), file_of([*definitions, *following, triggers_[1]])


@st.composite
def journeys(draw: st.DrawFn) -> str:
    """Rules whose steps wait for events, with all that moves what waits."""
    return file_of([draw(travellers(name)) for name in ("k", "l")[: draw(st.integers(1, 2))]])


@st.composite
def travellers(draw: st.DrawFn, name: str) -> Node:
    """A rule whose steps wait for events."""
    keys = draw(nodes(key=maybe(st.sampled_from(["event.k", "user.id"]), 2)))
    overlap = draw(st.sampled_from(["restart", "ignore", "gather", "gather"])) if keys else "restart"
    reads = _GATHERED if overlap == "gather" else ["occurrence.matched.n", "occurrence.matched.type"]
    rule = nodes(
        trigger=st.just(name),
        purpose=st.just("marketing"),
        on=sources_of_events,
        overlap=st.just(overlap),
        after=maybe(waits()),
        unless=maybe(some(listened(True))),
        when=maybe(st.sampled_from(_ON_THE_WAY)),
        quiet=maybe(quiets),
        max_age=maybe(st.sampled_from(["10m", "3d"])),
        settle=maybe(st.sampled_from(["1s", "10m"]), 2),
        priority=maybe(st.just(60)),
        expires=st.sampled_from(["1h", "9d"]),
        steps=journey_steps(reads),
    )
    return draw(rule) | keys


@st.composite
def rerouted(draw: st.DrawFn) -> tuple[str, str]:
    """A rule whose steps wait for events, and the same with other steps, or with some of them, which follows."""
    before = draw(travellers("k"))
    listed = draw(st.one_of(st.just(before["steps"]), journey_steps(["event.n"]), _shuffled(before["steps"])))
    after = before | {"steps": listed} | draw(nodes(on_edit=st.sampled_from(["follow", "follow", "follow", "pin"])))
    after |= draw(nodes(after=maybe(lengths), when=maybe(st.just("event.n > 0"), 6)))
    return file_of([before]), file_of([after])


@st.composite
def _shuffled(draw: st.DrawFn, listed: list[Any]) -> list[Any]:
    """The steps, some of them changed, left out or put in."""
    found: list[Any] = []
    for step in listed:
        change = draw(st.sampled_from(["keep", "keep", "keep", "drop", "add", "wait"]))
        if change == "add":
            found.append({"wait": draw(lengths)})
        if change == "wait" and isinstance(step, dict) and "wait" in step:
            step = {"wait": draw(waits())}
        if change == "wait" and isinstance(step, dict) and "wait_for" in step:
            step = step | {"up_to": draw(waits())}
        if isinstance(step, dict) and ("then" in step or "else" in step):
            step = step | {part: draw(_shuffled(step[part])) or ["exit"] for part in ("then", "else") if part in step}
        if change != "drop" or (isinstance(step, dict) and {"send", "wait_for"} & set(step)):
            found.append(step)
    return found


def _definitions(draw: st.DrawFn) -> list[Node]:
    found = [*BRANDS, draw(scores("s")), draw(scores("t"))]
    found += _metrics(draw)
    found += _segments(draw)
    return [*found, {"endpoint": "crm", "url": "https://crm.example/hooks", "secrets": "crm"}]


def file_of(documents: list[Node]) -> str:
    """The text of a file with these documents."""
    return "\n---\n".join(orjson.dumps(document).decode() for document in documents)
