"""Decides which mail may begin on which lane, and what the others wait for. Pure: time and permits are passed in.

Mails wait by lane: the source that is theirs, at the site of their domain. A lane is looked at when something happens
to it or its time has come, and not otherwise: so a decision costs no more when many lanes and mails wait.
"""

from collections.abc import Iterable, Iterator
from heapq import nlargest

from senders.shaping.actions import ActionBook, ActiveAction
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_bindings import LaneBindings
from senders.shaping.lane_calls import LaneCalls
from senders.shaping.lane_decider import FailedMail, LaneDecider, LaneDecision
from senders.shaping.lane_queue import LaneQueue
from senders.shaping.lane_round import FindBook
from senders.shaping.lane_state import LONGEST_PAUSE_US, LaneKey, LaneState
from senders.shaping.lane_table import LaneTable
from senders.shaping.mail_places import MailPlaces
from senders.shaping.permits import ClockReading
from senders.shaping.pools import pool_of
from senders.shaping.resolution import Egress
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

REFUSED_US = SECOND_US
"""How long a lane leaves a connection limit alone that had no slot free."""


class LaneBoard:
    """Used in the event loop's thread only."""

    def __init__(self, file: ShapingFile, book: FindBook) -> None:
        self.actions = ActionBook()
        self._file = file
        self._book = book
        self._places = MailPlaces(file)
        self._lanes = LaneTable(self.actions)
        self._calls = LaneCalls()
        self._bindings = LaneBindings()
        self._failed: list[FailedMail] = []
        """Mails that raised between two decisions."""
        self._undecided = True
        """Whether other limits or actions are in force than at the last decision: what bound then may bind no more."""

    @property
    def file(self) -> ShapingFile:
        """The file in force."""
        return self._file

    # mails

    def add(self, mail: ShapedMail) -> None:
        """A mail is due. One that waits already stays where it is. If this raises, `remove` it."""
        placed = self._places.place(mail)
        if placed is not None:
            lane = self._lanes.of(placed)
            self._places.put(mail, lane.key)
            lane.queue.put(mail)
            self._touch(lane)

    def remove(self, mail_id: str) -> None:
        """A mail waits no more: its partition was lost, or it was answered otherwise."""
        key = self._places.remove(mail_id)
        if key is not None:
            self._lanes[key].queue.remove(mail_id)

    def avoid(self, sources: frozenset[str]) -> None:
        """Mails that come from now on leave from these sources only if their pool has no other."""
        self._places.avoided = sources

    def looked_up(self, destination: Destination) -> None:
        """The MX hosts of a domain are known, perhaps others than before: that concerns mails that come from now on."""
        self._add_again(self._places.looked_up(destination))

    def _add_again(self, mails: Iterable[ShapedMail]) -> None:
        for mail in mails:
            try:
                self.add(mail)
            except Exception as error:  # noqa: BLE001  # one mail's error is that mail's
                self.remove(mail.id)
                self._failed.append(FailedMail(mail, error))

    def lookup_failed(self, domain: str, until_us: int) -> None:
        """The MX hosts of a domain are not known: its mails wait, and it is looked up again then."""
        self._places.lookup_failed(domain, until_us)

    def lost(self, domain: str, until_us: int) -> None:
        """The hosts of a domain are not known any more. Its mails leave their lanes, and wait until they are known."""
        self._places.forget(domain)
        self._places.lookup_failed(domain, until_us)
        for mail in [mail for lane in self._lanes for mail in lane.queue.mails() if mail.domain == domain]:
            self.remove(mail.id)
            self._add_again([mail])

    def ended(self, key: LaneKey, now_us: int, *, taken: bool) -> list[ActiveAction]:
        """A mail has its answer. `taken`: the server took it. Returns the suspensions whose probation that ends."""
        lane = self._lanes[key]
        lane.in_flight -= 1
        over = self.actions.taken(lane.targets.values(), now_us) if taken else []
        self._touch(lane)
        return over

    # connections

    def way(self, key: LaneKey) -> Egress:
        """The way that a lane's next connection is opened for: that of the mail that begins next.

        Where a mail raises, the way of the lane: the mail raises it again at the next decision, which answers it.
        """
        lane = self._lanes[key]
        try:
            return self._way_of_next(lane)
        except Exception:  # noqa: BLE001  # one mail's error ends no connection
            return lane.egress

    def _way_of_next(self, lane: LaneState) -> Egress:
        heads = (mail for each in self._lanes.givers(lane) for mail in each.queue.heads())
        head = next(heads, None)
        return lane.egress if head is None else self._places.egress_of(head, lane.key.source)

    def opened(self, key: LaneKey) -> None:
        """A connection is ready for mails."""
        lane = self._lanes[key]
        lane.opening, lane.open = lane.opening - 1, lane.open + 1
        lane.connected()
        self._calls.add(key)

    def not_opened(self, key: LaneKey, now_us: int, *, refused: bool = False) -> None:
        """A connection was not opened: no slot of a limit was free (`refused`), or it failed."""
        lane = self._lanes[key]
        lane.opening -= 1
        if refused:
            lane.refused_until_us = now_us + REFUSED_US
        else:
            lane.failed(now_us)
        self._calls.add(key)

    def not_needed(self, key: LaneKey) -> None:
        """A connection was not opened, and its servers are not at fault."""
        self._lanes[key].opening -= 1
        self._calls.add(key)

    def failed(self, key: LaneKey, now_us: int) -> None:
        """A connection ended before a mail was taken, and could not be opened anew."""
        self._lanes[key].failed(now_us)
        self._calls.add(key)

    def closed(self, key: LaneKey) -> None:
        """A connection that was open is closed."""
        self._lanes[key].open -= 1
        self._calls.add(key)

    def gave_up(self, key: LaneKey, now_us: int) -> None:
        """A connection was given up because another worker wants one: the lane leaves the slot to it."""
        self._lanes[key].refused_until_us = now_us + 2 * REFUSED_US
        self._calls.add(key)

    # rules and permits

    def act(self, actions: Iterable[ActiveAction]) -> None:
        """Actions of rules or of people, of this worker or of another, are in force."""
        self.follow((action, False) for action in actions)

    def follow(self, actions: Iterable[tuple[ActiveAction, bool]]) -> None:
        """Puts in force what other workers or people have changed: each action, and whether it is lifted."""
        version = self.actions.version
        for action, lifted in actions:
            self.actions.follow(action, lifted=lifted)
        if self.actions.version != version:
            self._touch_all()

    def _touch_all(self) -> None:
        """Other actions are in force: what waits for the old ones is looked at."""
        self._undecided = True
        for lane in list(self._lanes):
            self._touch(lane)

    def granted(self, names: Iterable[str]) -> None:
        """These limits have answered: the lanes that wait for them are looked at."""
        for name in names:
            self._calls.granted(name)

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force. Mails under way stay where they are; those that wait are placed anew."""
        waiting = [*self._places.unpooled(), *(mail for lane in self._lanes for mail in lane.queue.mails())]
        self._file = file
        self._undecided = True
        self._places.reshape(file)
        for lane in self._lanes:
            lane.queue = LaneQueue()
            lane.stale(self._places.egress(lane.egress.destination, lane.key.source))
        for mail in waiting:
            self._places.remove(mail.id)
        self._add_again(waiting)

    def drop_unused(self, now_us: int) -> None:
        """Forget lanes on which nothing has happened since the last call."""
        for key in self._lanes.drop_unused(now_us):
            self._bindings.put(key, {})

    # what to do

    def decide(self, now: ClockReading) -> LaneDecision:
        """What may begin now, mails of a higher priority first."""
        if self.actions.forget(now.now_us):
            self._touch_all()
        decider = LaneDecider(
            self._file, self._lanes, self._places, self._calls, self._bindings, self.actions, self._book, now
        )
        decision = decider.decide()
        decision.failed += self._failed
        self._failed = []
        self._undecided = False
        return decision

    def _touch(self, lane: LaneState) -> None:
        """A lane is to be looked at; if others take from its queue, those as well."""
        self._calls.add(lane.key)
        if self._lanes.gives(lane):
            purposes = {kind.purpose for kind in lane.queue.kinds}
            for source in {name for purpose in purposes for name in pool_of(self._file.document, purpose)}:
                egress = self._places.egress(lane.egress.destination, source)
                self._calls.add(self._lanes.of(egress).key)

    # what mails wait for

    def binding(self, mail_id: str) -> Binding | None:
        """What a mail waits for, as of the last decision; None if it does not wait."""
        key = self._places.lane(mail_id)
        if key is None:
            return self._places.binding(mail_id)
        return self._binding(self._lanes[key]) or Binding(BindingKind.BEHIND, str(key))

    def _binding(self, lane: LaneState, kind: TrafficKind | None = None) -> Binding | None:
        """What binds the mails of a lane, or of one kind there, on every lane that may take them."""
        return self._bindings.of_mails(self._lanes.takers(lane), kind)

    def long_bound(self, until_us: int) -> Iterator[tuple[ShapedMail, Binding]]:
        """The waiting mails that nothing lets begin before then, as of the last decision, each with what binds it.

        Those of a lane that has reached no server for a while are among them, whenever its next connection is tried.
        None are, if other limits or actions are in force since.
        """
        if self._undecided:
            return
        yield from self._places.long_bound(until_us)
        for lane in self._lanes:
            of_kind = {kind: self._binding(lane, kind) for kind in lane.queue.kinds}
            long = {kind: each for kind, each in of_kind.items() if each and self._is_long(lane, each, until_us)}
            if long:
                yield from [(mail, long[mail.kind]) for mail in lane.queue.mails() if mail.kind in long]

    def _is_long(self, lane: LaneState, binding: Binding, until_us: int) -> bool:
        if binding.kind is BindingKind.CONNECTIONS:
            return lane.unreachable and lane.pause_us == LONGEST_PAUSE_US
        return binding.until_us is not None and binding.until_us > until_us

    def crowd(self, mail: ShapedMail) -> tuple[LaneState | None, int]:
        """The lane that a mail would wait on, if that is known, and how many wait there."""
        egress, waiting = self._places.crowd(mail)
        if egress is None:
            return None, waiting
        lane = self._lanes.of(egress)
        return lane, len(lane.queue)

    def lane(self, key: LaneKey) -> LaneState:
        """A lane that the board has named."""
        return self._lanes[key]

    def find_lane(self, key: LaneKey) -> LaneState | None:
        """The lane, unless it was not used for a while."""
        return self._lanes.get(key)

    def lookups(self, domain: str) -> int | None:
        """How many mails wait for the hosts of a domain; None if those are known."""
        return self._places.lookups_of(domain)

    def lanes(self) -> Iterator[tuple[LaneState, Binding | None]]:
        """Every lane, and what binds it."""
        return ((lane, self._bindings.of_lane(lane.key)) for lane in self._lanes)

    def knows(self, domain: str) -> bool:
        """Whether the hosts of a domain were looked up, so that its lane is known."""
        return self._places.knows(domain)

    def unplaced(self, most: int) -> list[tuple[Binding, int]]:
        """What mails wait for that are on no lane, and how many wait for it, the most first."""
        return nlargest(most, self._places.crowds(), key=lambda crowd: crowd[1])
