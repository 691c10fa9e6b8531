"""Where each waiting mail is: on a lane, before its domain is looked up, or without a pool. Pure."""

from collections.abc import Iterator

from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.file import ShapingFile
from senders.shaping.lane_state import LaneKey
from senders.shaping.pools import choose
from senders.shaping.resolution import Egress, resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail

MAX_EGRESSES = 100_000


class MailPlaces:
    """Used by the board only."""

    def __init__(self, file: ShapingFile) -> None:
        self._destinations: dict[str, Destination] = {}
        self._lanes: dict[str, LaneKey] = {}
        self._unknown: dict[str, dict[str, ShapedMail]] = {}
        """By domain: mails whose destination is not known."""
        self._domains: dict[str, str] = {}
        """Of those mails."""
        self._failed_until_us: dict[str, int] = {}
        self._unpooled: dict[str, ShapedMail] = {}
        self._file = file
        self._egresses: dict[tuple[str, str], Egress] = {}
        """Ways that were resolved: half of what a decision costs, otherwise."""

    def place(self, mail: ShapedMail) -> Egress | None:
        """The way of a mail; None if it waits for a lookup or a pool, or waits already."""
        if mail.id in self._lanes or mail.id in self._domains or mail.id in self._unpooled:
            return None
        if mail.domain not in self._destinations:
            self._unknown.setdefault(mail.domain, {})[mail.id] = mail
            self._domains[mail.id] = mail.domain
            return None
        way = self._way(mail)
        if way is None:
            self._unpooled[mail.id] = mail
        return way

    def _way(self, mail: ShapedMail) -> Egress | None:
        sources = choose(self._file.document, mail.kind.purpose, mail.id, mail.last_source).sources
        return self.egress(mail.domain, sources[0]) if sources else None

    def crowd(self, mail: ShapedMail) -> tuple[Egress | None, int]:
        """The way that a mail would take; where that is not known, how many wait for the same."""
        if mail.domain not in self._destinations:
            return None, len(self._unknown.get(mail.domain, ()))
        way = self._way(mail)
        return way, 0 if way is not None else len(self._unpooled)

    def long_bound(self, until_us: int) -> Iterator[tuple[ShapedMail, Binding]]:
        """The mails without a pool, and those whose domain is looked up again only after a while."""
        failed = [domain for domain in self._unknown if self._failed_until_us.get(domain, 0) > until_us]
        mails = [*self._unpooled.values(), *(mail for domain in failed for mail in self._unknown[domain].values())]
        for mail in mails:
            binding = self.binding(mail.id)
            assert binding is not None, "it waits here"
            yield mail, binding

    def put(self, mail_id: str, lane: LaneKey) -> None:
        """A mail waits on a lane."""
        self._lanes[mail_id] = lane

    def remove(self, mail_id: str) -> LaneKey | None:
        """A mail waits no more. Returns the lane that it waited on."""
        self._unpooled.pop(mail_id, None)
        domain = self._domains.pop(mail_id, None)
        if domain is not None:
            waiting = self._unknown[domain]
            del waiting[mail_id]
            if not waiting:
                del self._unknown[domain]
        return self._lanes.pop(mail_id, None)

    def lane(self, mail_id: str) -> LaneKey | None:
        """The lane that a mail waits on."""
        return self._lanes.get(mail_id)

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

    def egress(self, domain: str, source: str) -> Egress:
        """The way from a source to a domain that was looked up."""
        found = self._egresses.get((domain, source))
        if found is None:
            if len(self._egresses) >= MAX_EGRESSES:
                self._egresses.clear()
            found = self._egresses[domain, source] = resolve(self._file, self._destinations[domain], source)
        return found

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force for ways that are asked for from now on."""
        self._file = file
        self._egresses.clear()

    def looked_up(self, destination: Destination) -> list[ShapedMail]:
        """Notes a destination. Returns the mails that waited for it."""
        domain = destination.domain
        if self._destinations.get(domain) != destination:
            self._destinations[domain] = destination
            self._egresses.clear()
        self._failed_until_us.pop(domain, None)
        waiting = list(self._unknown.get(domain, {}).values())
        for mail in waiting:
            self.remove(mail.id)
        return waiting

    def lookup_failed(self, domain: str, until_us: int) -> None:
        """Notes that a domain is not to be looked up before then."""
        self._failed_until_us[domain] = until_us

    def lookups(self, now_us: int) -> set[str]:
        """The domains to look up now."""
        return {domain for domain in self._unknown if self._failed_until_us.get(domain, 0) <= now_us}

    def retries(self, now_us: int) -> Iterator[int]:
        """When domains whose lookup failed are looked up again."""
        return (until_us for until_us in self._failed_until_us.values() if until_us > now_us)
