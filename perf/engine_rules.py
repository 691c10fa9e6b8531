"""Sets of rules of mixed kinds, of any size, and the events that they read: what the engine is measured with.

Every type of event is read by the same few rules, `candidates` of them: 2 % of the set, at least one, at most five. An
event belongs to one rule at most: it names it in `slot`, and only 5 % of events name one. So one event in twenty goes
further than to ask whether one of its candidates wants it. What a rule then waits for comes as events of types of
its own, and is part of the 5 %.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

import orjson

from triggers.language.diagnostics import SourceFile

SHARE, MOST = 0.02, 5
MATCHES, GOES_ON = 0.05, 0.1
"""The share of events that belong to a rule; of those, the share that ends what waits."""
SENDS = 0.2
"""The share of matching events that leads to a send: 1 % of all events. Half of the kinds decide it by `when`."""
LARGEST = 250.0
PER_S = 100_000
"""How many events happen in a second of their own time."""
ZIPF_EXPONENT = 0.99

_SCORES = """\
score: intent
decay: {curve: exponential, half_life: 14d}
add:
  - {event: bought, points: 3}
---
score: interest
decay: {curve: linear, lifetime: 30d}
add:
  - {event: bought, points: event.total / 100}
---
policy: limits
for: {purpose: marketing}
cap: {max: 20, per: 1d, scope: purpose}
"""

_PHONES = 'event.slot == "{n}" && event.device in ["phone", "tablet"] && event.total >= 0'
_KINDS = (
    """\
trigger: rule-{n}
owner: perf
purpose: transactional
on: {{event: {type}, where: event.slot == "{n}"}}
when: event.total >= {line}
cap: {{max: 3, per: 1h}}
send: {{template: plain, data: {{total: event.total}}}}
""",
    """\
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{event: {type}, where: event.slot == "{n}"}}
key: event.session
when: event.total >= {line}
after: 2s
unless: {{event: ended_{n}, same: session}}
cap: {{max: 1, per: 1h, over: defer}}
expires: 2h
send: {{template: plain, data: {{total: event.total}}}}
""",
    """\
score: score_{n}
decay: {{curve: exponential, half_life: 7d}}
add:
  - {{event: {type}, where: event.slot == "{n}", points: event.total / {largest}}}
---
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{score: score_{n}, reaches: 2}}
when: score.score_{n} < 10 && score.intent >= 0
cap: {{max: 1, per: calendar day}}
send: {{template: plain, data: {{score: score.score_{n}}}}}
""",
    """\
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{event: {type}, where: event.slot == "{n}", within: 1h, reaches: 3}}
holdout: 5%
cap: {{max: 2, per: calendar week}}
send: plain
""",
    """\
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{event: {type}, where: '{where}'}}
key: user.id
reentry: 1d
when: event.total >= {line}
quiet: {{from: "03:58", to: "03:59"}}
experiment: {{variants: {{short: 50, long: 50}}}}
goal: {{event: bought, within: 7d}}
steps:
  - send: {{template: plain, id: first, data: {{variant: occurrence.variant}}}}
  - wait: 3d
  - if: score.interest >= 5
    then: [exit]
  - send: {{template: plain, id: second}}
""",
    """\
metric: spent_{n}
event: {type}
where: event.slot == "{n}"
within: 7d
sum: event.total
---
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{event: {type}, where: event.slot == "{n}"}}
when: metric.spent_{n}.sum >= {line}
cap: {{max: 1, per: 1h}}
send: {{template: plain, data: {{spent: metric.spent_{n}.sum}}}}
""",
    """\
metric: often_{n}
event: {type}
where: event.slot == "{n}"
within: calendar day
---
segment: keen_{n}
when: metric.often_{n}.count >= 2
---
trigger: rule-{n}
owner: perf
purpose: marketing
on: {{enters: keen_{n}}}
cap: {{max: 1, per: 1d}}
send: plain
""",
    """\
trigger: rule-{n}
owner: perf
purpose: marketing
on:
  sequence:
    - {{event: {type}, where: event.slot == "{n}"}}
    - {{event: {type}, where: event.slot == "{n}" && event.total >= 100}}
  within: 1h
cap: {{max: 1, per: 1d}}
send: {{template: plain, data: {{total: event.total}}}}
""",
)


def candidates(rules: int) -> int:
    """How many rules read each type of event."""
    return min(MOST, max(1, round(SHARE * rules)))


def rule_texts(rules: int) -> list[SourceFile]:
    """The set as one file a rule, with the definitions that they share."""
    files = [SourceFile("definitions.yaml", _SCORES)]
    each = candidates(rules)
    decide = sum(_decides(n) for n in range(rules)) / rules
    line = f"{LARGEST * (1 - SENDS / decide):g}"
    for n in range(rules):
        kind, where = _KINDS[n % len(_KINDS)], _PHONES.format(n=n)
        text = kind.format(n=n, type=f"event_{n // each}", line=line, largest=f"{LARGEST:g}", where=where)
        files.append(SourceFile(f"rule-{n}.yaml", text))
    return files


def _decides(rule: int) -> bool:
    kind = _KINDS[rule % len(_KINDS)]
    return "when: event.total" in kind or "when: metric.spent" in kind


@dataclass(frozen=True, slots=True)
class EngineWorkload:
    """Events of `users` for a set of `rules`, from `start_ms` on. The same fields give the same bytes."""

    events: int
    users: int
    zipf: bool
    rules: int
    start_ms: int
    seed: int = 1

    def records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The instant, key and value of each event."""
        chance = random.Random(f"{self.seed}/{self.zipf}/{self.rules}")
        each = candidates(self.rules)
        types = -(-self.rules // each)
        for number, user in enumerate(self._users(chance)):
            at_ms = self.start_ms + number * 1000 // PER_S
            kind, slot = f"event_{chance.randrange(types)}", ""
            if chance.random() < MATCHES:
                rule = chance.randrange(self.rules)
                kind, slot = f"event_{rule // each}", str(rule)
                if chance.random() < GOES_ON:
                    kind, slot = (f"ended_{rule}" if rule % len(_KINDS) == 1 else "bought"), ""
            properties = {
                "slot": slot,
                "session": f"s-{user % 1000}",
                "total": round(chance.random() * LARGEST, 2),
                "device": ("phone", "desktop", "tablet")[number % 3],
                "path": f"/catalogue/{number % 40}/{number % 5_000}",
            }
            yield at_ms, b"user-%07d" % user, _event(f"e-{number:08d}", kind, f"user-{user:07d}", at_ms, properties)

    def _users(self, chance: random.Random) -> list[int]:
        weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, self.users + 1))) if self.zipf else None
        return chance.choices(range(self.users), cum_weights=weights, k=self.events)


def _event(name: str, kind: str, user: str, at_ms: int, properties: dict[str, object]) -> bytes:
    time = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    event = {"id": name, "type": kind, "user_id": user, "time": time, "properties": properties, "source": "web"}
    return b"%b" % orjson.dumps(event)  # a copy: bytes of orjson take 4 KiB each as long as they are kept
