"""How workers share the limit of a key. Pure.

Each worker may take a number of events in any window, and these numbers never add up to more than the limit allows. So
the limit holds over all workers without a word between them when a call comes. A worker that wants less leaves the
rest to the others; what nobody wants is spread evenly, so that a worker can serve a caller that was not there before.
Where the others want all of the limit, such a caller waits until the next trade.
Where callers send batches, a share is a multiple of them, as far as the limit goes: a call is taken whole, and what is
left of a share beside whole calls is of no use.

A share that shrinks is free for others only a window later: until then events of the larger share are in the window.

Delivery's permits (`senders.shaping.gcra`) fit here badly: a mail waits for the time of its permit, while a call brings
many events at once, is answered at once, and may come to any worker first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """At most `events` in any `window_s`, which is a second or a little more: so a limit of 2.5/s is 3 in 1.2 s."""

    events: int
    window_s: float

    @classmethod
    def of(cls, events_per_s: float) -> "KeyLimit":
        """The limit of a rate."""
        events = math.ceil(events_per_s)
        return cls(events, events / events_per_s)


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker may take of a limit in any window. `wanted` is what its callers asked for in one."""

    wanted: int
    events: int
    before: int
    """The most that it could take in the window before the share changed."""
    age_s: float
    """How long ago it changed."""
    largest: int = 1
    """The events of its callers' largest call."""

    def held(self, window_s: float) -> int:
        """What is not free for others: the larger share too, while its events are in the window."""
        return self.events if self.age_s >= window_s else max(self.events, self.before)


def fair_shares(events: int, wanted: Sequence[int]) -> list[int]:
    """Shares that add up to `events`: nobody gets less than wanted while somebody gets more than an even part."""
    shares = [0] * len(wanted)
    left = events
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    for place, number in enumerate(order):
        shares[number] = min(wanted[number], left // (len(order) - place))
        left -= shares[number]
    for place, number in enumerate(order):
        more = left // (len(order) - place)
        shares[number] += more
        left -= more
    return shares


def whole_calls(shares: Sequence[int], largest: Sequence[int]) -> list[int]:
    """The same shares, but as multiples of calls where they are larger than one; what is too much, others get."""
    calls = [call if call <= share else 1 for share, call in zip(shares, largest, strict=True)]
    whole = [share - share % call for share, call in zip(shares, calls, strict=True)]
    left = sum(shares) - sum(whole)
    for number in sorted(range(len(whole)), key=lambda number: -calls[number]):
        if calls[number] <= left:
            whole[number] += calls[number]
            left -= calls[number]
    whole[calls.index(min(calls))] += left
    return whole


def next_share(
    limit: KeyLimit, shares: Mapping[str, Share], worker: str, wanted: int, largest: int, most: int | None
) -> Share:
    """The new share of a worker, from those of all by name. Together they hold no more than the limit, as before.

    `most` bounds it where the worker's own row was lost: that of another may be lost too, and be written again later.
    """
    own, others = shares.get(worker), {name: share for name, share in shares.items() if name != worker}
    free = limit.events - sum(share.held(limit.window_s) for share in others.values())
    events = max(0, min(_fair_share(limit, others, worker, wanted, largest), free))
    if own is None:
        events = events if most is None else min(events, most)
        return Share(wanted, events, max(events, most or 0), 0.0, largest)
    if own.events == events:
        return Share(wanted, events, own.before, own.age_s, largest)
    return Share(wanted, events, own.held(limit.window_s), 0.0, largest)


def _fair_share(limit: KeyLimit, others: Mapping[str, Share], worker: str, wanted: int, largest: int) -> int:
    """What a worker gets if all are treated alike. Each worker computes the same for all of them."""
    names = sorted((*others, worker))
    asked = [(wanted, largest) if name == worker else (others[name].wanted, others[name].largest) for name in names]
    fair = fair_shares(limit.events, [events for events, _ in asked])
    return whole_calls(fair, [call for _, call in asked])[names.index(worker)]
