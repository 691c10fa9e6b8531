"""Where each waiting mail is: on a lane, before its domain is looked up, or without a pool. Pure."""

from collections import Counter
from collections.abc import Iterator
from heapq import heappop, heappush

from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.file import ShapingFile
from senders.shaping.lane_state import LaneKey
from senders.shaping.pools import choose
from senders.shaping.resolution import Egress, resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail

MAX_EGRESSES = 20_000
MAX_DESTINATIONS = 100_000
"""Those that came first are forgotten first, and found again where they are needed."""


class MailPlaces:
    """Used by the board only."""

    def __init__(self, file: ShapingFile) -> None:
        self._file = file
        self._destinations: dict[str, Destination] = {}
        self._lanes: dict[str, tuple[LaneKey, Destination]] = {}
        self._unknown: dict[str, dict[str, ShapedMail]] = {}
        """By domain: mails whose destination is not known."""
        self._domains: dict[str, str] = {}
        """Of those mails."""
        self._ask: dict[str, None] = {}
        """The domains to look up now."""
        self._failed_until_us: dict[str, int] = {}
        self._retries: list[tuple[int, str]] = []
        """When domains are looked up again that are in `_failed_until_us`."""
        self._unpooled: dict[str, ShapedMail] = {}
        self.avoided: frozenset[str] = frozenset()
        """Sources that mails leave from only if their pool has no other."""
        self._egresses: dict[tuple[str, str], Egress] = {}
        """Ways that were resolved: half of what a decision costs, otherwise."""

    # where mails wait

    def place(self, mail: ShapedMail) -> Egress | None:
        """The way of a mail; None if it waits for a lookup or a pool, or waits already."""
        if mail.id in self._lanes or mail.id in self._domains or mail.id in self._unpooled:
            return None
        if mail.domain not in self._destinations:
            self._wait_for_lookup(mail)
            return None
        way = self._way(mail)
        if way is None:
            self._unpooled[mail.id] = mail
        return way

    def _wait_for_lookup(self, mail: ShapedMail) -> None:
        if mail.domain not in self._unknown and mail.domain not in self._failed_until_us:
            self._ask[mail.domain] = None
        self._domains[mail.id] = mail.domain
        self._unknown.setdefault(mail.domain, {})[mail.id] = mail

    def _way(self, mail: ShapedMail) -> Egress | None:
        choice = choose(self._file.document, mail.kind.purpose, mail.id, mail.last_source, blocked=mail.blocked)
        if not choice.sources:
            return None
        source = choice.first(self.avoided.__contains__) or choice.sources[0]
        return self.egress(self._destinations[mail.domain], source)

    def knows(self, domain: str) -> bool:
        """Whether the hosts of a domain were looked up."""
        return domain in self._destinations

    def lookups_of(self, domain: str) -> int | None:
        """How many mails wait for the hosts of a domain; None if those are known."""
        return None if domain in self._destinations else len(self._unknown.get(domain, ()))

    def crowds(self) -> Iterator[tuple[Binding, int]]:
        """What mails wait for that are on no lane, and how many wait for it."""
        for domain, mails in self._unknown.items():
            yield Binding(BindingKind.LOOKUP, domain, until_us=self._failed_until_us.get(domain)), len(mails)
        purposes = Counter(mail.kind.purpose for mail in self._unpooled.values())
        for purpose, waiting in purposes.items():
            yield Binding(BindingKind.NO_POOL, f"purpose {purpose}"), waiting

    def put(self, mail: ShapedMail, lane: LaneKey) -> None:
        """A mail waits on a lane."""
        self._lanes[mail.id] = lane, self._destinations[mail.domain]

    def remove(self, mail_id: str) -> LaneKey | None:
        """A mail waits no more. Returns the lane that it waited on."""
        if mail_id in self._lanes:
            lane, _ = self._lanes[mail_id]
            del self._lanes[mail_id]
            return lane
        if mail_id in self._unpooled:
            del self._unpooled[mail_id]
        elif mail_id in self._domains:
            self._forget_lookup(mail_id, self._domains[mail_id])
        return None

    def _forget_lookup(self, mail_id: str, domain: str) -> None:
        del self._domains[mail_id]
        if domain in self._unknown:
            waiting = self._unknown[domain]
            waiting.pop(mail_id, None)
            if not waiting:
                del self._unknown[domain]

    def lane(self, mail_id: str) -> LaneKey | None:
        """The lane that a mail waits on."""
        lane, _ = self._lanes.get(mail_id, (None, None))
        return lane

    def binding(self, mail_id: str) -> Binding | None:
        """What a mail waits for that is on no lane."""
        domain = self._domains.get(mail_id)
        if domain is not None:
            return Binding(BindingKind.LOOKUP, domain, until_us=self._failed_until_us.get(domain))
        mail = self._unpooled.get(mail_id)
        return Binding(BindingKind.NO_POOL, f"purpose {mail.kind.purpose}") if mail is not None else None

    def unpooled(self) -> list[ShapedMail]:
        """The mails whose purpose no pool takes."""
        return list(self._unpooled.values())

    def crowd(self, mail: ShapedMail) -> tuple[Egress | None, int]:
        """The way that a mail would take; where that is not known, how many wait for the same."""
        if mail.domain not in self._destinations:
            return None, len(self._unknown.get(mail.domain, ()))
        way = self._way(mail)
        return way, 0 if way is not None else len(self._unpooled)

    def long_bound(self, until_us: int) -> Iterator[tuple[ShapedMail, Binding]]:
        """The mails without a pool, and those whose domain is looked up again only after a while."""
        failed = [domain for domain, at_us in self._failed_until_us.items() if at_us > until_us]
        of_failed = (mail for domain in failed for mail in self._unknown.get(domain, {}).values())
        for mail in [*self._unpooled.values(), *of_failed]:
            binding = self.binding(mail.id)
            assert binding is not None, "it waits here"
            yield mail, binding

    # ways

    def egress(self, destination: Destination, source: str) -> Egress:
        """The way from a source to a destination."""
        key = destination.domain, source
        found = self._egresses.get(key)
        if found is None or found.destination != destination:
            found = resolve(self._file, destination, source)
            if len(self._egresses) >= MAX_EGRESSES:
                del self._egresses[next(iter(self._egresses))]
            self._egresses[key] = found
        return found

    def egress_of(self, mail: ShapedMail, source: str) -> Egress:
        """The way of a mail that waits on a lane, from this source."""
        _, destination = self._lanes[mail.id]
        return self.egress(destination, source)

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force for ways that are asked for from now on."""
        self._file = file
        self._egresses.clear()

    # lookups

    def looked_up(self, destination: Destination) -> list[ShapedMail]:
        """Notes a destination. Returns the mails that waited for it."""
        domain = destination.domain
        if self._destinations.get(domain) != destination:
            if len(self._destinations) >= MAX_DESTINATIONS:
                del self._destinations[next(iter(self._destinations))]
            self._destinations[domain] = destination
        self._failed_until_us.pop(domain, None)
        waiting = list(self._unknown.get(domain, {}).values())
        for mail in waiting:
            self.remove(mail.id)
        return waiting

    def lookup_failed(self, domain: str, until_us: int) -> None:
        """Notes that a domain is not to be looked up before then."""
        self._failed_until_us[domain] = until_us
        heappush(self._retries, (until_us, domain))

    def forget(self, domain: str) -> None:
        """The hosts of a domain are not known any more."""
        self._destinations.pop(domain, None)

    def lookups(self, now_us: int) -> list[str]:
        """The domains to look up now. Each is answered by `looked_up` or `lookup_failed`."""
        while self._retries and self._retries[0][0] <= now_us:
            at_us, domain = heappop(self._retries)
            if self._failed_until_us.get(domain) == at_us:
                del self._failed_until_us[domain]
                if domain in self._unknown:
                    self._ask[domain] = None
        asked, self._ask = list(self._ask), {}
        return asked

    @property
    def next_lookup_us(self) -> int | None:
        """When a domain whose lookup failed is looked up again."""
        return self._retries[0][0] if self._retries else None
