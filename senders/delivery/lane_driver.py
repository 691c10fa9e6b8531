"""Drives a lane board on real things: lookups, permits, connections, mails, and what other workers have found out.

The board decides and this carries out; nothing here chooses. Each mail and each connection that is being opened has a
task of its own, so that a slow server holds up its own lane only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.tasks import TaskSet, run_together
from infra.service.watchdog import Watchdog
from schemas.outcomes import Reply
from schemas.waiting import event_within
from senders.channels.channel import ChannelClient, LookupFailed, RealMailRefused, Unreachable
from senders.channels.lane_routes import FindLaneRoute
from senders.delivery.lane_connections import LaneConnection, LaneConnections
from senders.delivery.rule_exchange import RuleExchange
from senders.shaping.connection_leases import RENEW_S
from senders.shaping.document import SmtpState
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import SECOND_US, PermitRequest
from senders.shaping.lane_board import LaneBoard
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.lane_limits import connection_limits
from senders.shaping.lane_state import LaneKey
from senders.shaping.permit_taker import PermitTaker
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

LOOK_S = 0.25
"""How often the board is asked at least."""
LOOKUP_AGAIN_US = 15 * SECOND_US
REFRESH_S = 600.0
"""How often the hosts of a domain are looked up that gets mail."""
UNUSED_S = 600.0
"""Lanes and limits that were not used for as long are forgotten."""
MAX_LOOKED_UP = 100_000


@dataclass(frozen=True, slots=True)
class LaneRefusal:
    """The reply of a server that did not take a mail, and what it answered."""

    reply: Reply
    state: SmtpState


class LaneMails(Protocol):
    """Sends the mails that begin, and answers those that cannot begin."""

    def begun(self, mail_id: str) -> None:
        """A mail waits on no lane any more: it is being sent."""

    async def send(self, begin: LaneBegin, client: ChannelClient, taken: Callable[[], None]) -> LaneRefusal | None:
        """Send a mail; raises Unreachable if no server took any of it.

        Calls `taken` as soon as a server has taken it, and does not use the client after that.
        """

    async def failed(self, mail_id: str, error: Exception) -> None:
        """Sending a mail raised what nothing expects."""

    async def set_back(self, mail_id: str, error: Exception) -> None:
        """Bringing a mail to its lane or connection raised what nothing expects. It waits here no more."""

    def let_go(self, mail_id: str, /) -> None:
        """A mail that was being sent has ended."""

    def reached(self, failure: Unreachable | None) -> None:
        """A server was connected to, or, with the reason, a lane without any connection gets none."""


class LaneDriver:
    """Used in the event loop's thread. The databases are used by nothing else."""

    def __init__(
        self,
        file: ShapingFile,
        *,
        owner: str,
        permits: AsyncDatabase,
        leases: AsyncDatabase,
        actions: AsyncDatabase,
        look_up: Callable[[str], Awaitable[Destination]],
        find_route: FindLaneRoute,
        mails: LaneMails,
        shared: bool = True,
        watchdog: Watchdog | None = None,
    ) -> None:
        """`look_up` raises Unreachable if the hosts are not known now. Limits not `shared` are this worker's own."""
        self._taker = PermitTaker(permits)
        self._look_up = look_up
        self._mails = mails
        self._watchdog = watchdog or Watchdog()
        self._connections = LaneConnections(leases, owner, find_route, shared=shared)
        self.board = LaneBoard(file, self._taker.book)
        self._wake = asyncio.Event()
        self._rules = RuleExchange(actions, self.board, self.now_us, self._wake.set, self._watchdog)
        self._asked: dict[str, PermitRequest] = {}
        """By limit: a decision names what the lanes want that it looked at, and what others want still stands."""
        self._looking: set[str] = set()
        self._looked_s: dict[str, float] = {}
        """When the hosts of each domain were looked up last."""
        self._tasks = TaskSet(self._wake.set)
        self._ask = asyncio.Event()
        self._log = structlog.get_logger("senders.delivery.lane_driver")

    def add(self, mail: ShapedMail) -> None:
        """A mail may begin."""
        self.board.add(mail)
        self._refresh(mail.domain)
        self._wake.set()

    def _refresh(self, domain: str) -> None:
        """Look a domain up again in time: its hosts may have changed."""
        if asyncio.get_running_loop().time() - self._looked_s.get(domain, 0.0) > REFRESH_S:
            self.look_for(domain)

    def look_for(self, domain: str) -> None:
        """Look up the hosts of a domain."""
        if domain not in self._looking:
            self._looking.add(domain)
            self._tasks.start("lookup", self._find(domain))

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force."""
        self.board.reshape(file)
        self._wake.set()

    def wake(self) -> None:
        """Other actions may be in force."""
        self._wake.set()

    def remove(self, mail_id: str) -> None:
        """A mail that has not begun waits here no more."""
        self.board.remove(mail_id)

    def now_us(self) -> int:
        """What the server's clock shows; 0 before its first answer."""
        return self._taker.reading().now_us

    def problems(self) -> list[str]:
        """What a person should look at."""
        return self._taker.problems()

    async def run(self) -> None:
        """Drive, until cancelled. Mails that have begun are cancelled too."""
        try:
            await run_together(
                {
                    "lane-decisions": self._decide(),
                    "lane-permits": self._take_permits(),
                    "lane-leases": self._keep_leases(),
                    "lane-actions": self._rules.run(),
                    "lane-defects": self._tasks.raise_defect(),
                }
            )
        finally:
            await self._tasks.end()
            await self._connections.close_all()

    # decisions

    async def _decide(self) -> None:
        await self._taker.take([])
        while True:
            self._watchdog.beat()
            self._wake.clear()
            if not self._connections.sure:
                await event_within(self._wake, LOOK_S)
                continue
            now = self._taker.reading()
            decision = self.board.decide(now)
            for begin in decision.begins:
                self._begin(begin)
            for failed in decision.failed:
                self._tasks.start("set-back", self._mails.set_back(failed.mail.id, failed.error))
            for key, count in decision.opens.items():
                for _ in range(count):
                    self._tasks.start("connection", self._open(key))
            for domain in decision.lookups:
                self.look_for(domain)
            self._asked |= {each.limit.name: each for each in decision.permits}
            if self._asked:
                self._ask.set()
            wait_s = LOOK_S
            if decision.wake_us is not None:
                wait_s = min(LOOK_S, max(0.0, (decision.wake_us - now.now_us) / SECOND_US))
            await event_within(self._wake, wait_s)

    def _begin(self, begin: LaneBegin) -> None:
        """Reserve a connection for a mail, and start its task."""
        connection = None
        try:
            connection = self._connections.reserve(begin.lane, begin.egress.domain)
            self._mails.begun(begin.mail.id)
            self._tasks.start("mail", self._mail(begin, connection))
        except Exception as error:  # noqa: BLE001  # one mail's error is that mail's outcome
            if connection is not None:
                connection.busy = False
            self.board.ended(begin.lane, self.now_us(), taken=False)
            self._tasks.start("set-back", self._mails.set_back(begin.mail.id, error))

    async def _find(self, domain: str) -> None:
        try:
            self.board.looked_up(await self._look_up(domain))
        except Unreachable:
            self.board.lookup_failed(domain, self.now_us() + LOOKUP_AGAIN_US)
        except RealMailRefused:
            raise
        except Exception as error:  # noqa: BLE001  # one domain's error is that domain's
            self._log.error("lookup_failed", error=describe(error))
            self.board.lookup_failed(domain, self.now_us() + LOOKUP_AGAIN_US)
        finally:
            self._looked_s.pop(domain, None)
            if len(self._looked_s) >= MAX_LOOKED_UP:
                del self._looked_s[next(iter(self._looked_s))]
            self._looked_s[domain] = asyncio.get_running_loop().time()
            self._looking.discard(domain)

    async def _take_permits(self) -> None:
        """One question at a time, for all limits that the last decision wants permits of."""
        while True:
            with self._watchdog.rest():
                await self._ask.wait()
            self._ask.clear()
            asked, self._asked = list(self._asked.values()), {}
            if asked:
                await self._taker.take(asked)
                for each in asked:  # what was wanted meanwhile was wanted without this answer
                    self._asked.pop(each.limit.name, None)
                self.board.granted(each.limit.name for each in asked)
                self._wake.set()

    # connections and mails

    async def _open(self, key: LaneKey) -> None:
        lane, egress = self.board.lane(key), self.board.way(key)
        try:
            made = await self._connections.open(lane, egress)
        except LookupFailed:
            self.board.not_needed(key)
            self._lost(egress.domain)
            return
        except Unreachable as failure:
            self.board.not_opened(key, self.now_us())
            self._unreachable(key, failure, next(iter(lane.queue.kinds), None))
            return
        if made is None:
            self.board.not_opened(key, self.now_us(), refused=True)
        else:
            made.idle_since_s = asyncio.get_running_loop().time()
            self.board.opened(key)
            self._mails.reached(None)

    def _lost(self, domain: str) -> None:
        """The hosts of a domain are not known any more, which holds up no other domain of its lane."""
        self.board.lost(domain, self.now_us() + LOOKUP_AGAIN_US)

    def _unreachable(self, key: LaneKey, failure: Unreachable, kind: TrafficKind | None) -> None:
        """No server took a connection, or a mail of this kind."""
        lane = self.board.lane(key)
        if lane.unreachable:
            self._mails.reached(failure)
        if failure.reply is not None and kind is not None:
            self._rules.see(lane.egress, kind, failure.reply, failure.answered)

    async def _mail(self, begin: LaneBegin, connection: LaneConnection) -> None:
        """Send a mail on a connection that is reserved for it. Whatever that raises, the lane goes on.

        A mail that the server took makes room for the next at once: while its answer is recorded, that one goes out.
        """
        reserved, failure = True, None

        def taken() -> None:
            nonlocal reserved
            closing = self._free(begin, connection, taken=True)
            reserved = False
            if closing:
                self._tasks.start("close", self._connections.close(closing))
            self._wake.set()

        try:
            await self._deliver(begin, connection, taken)
        except Unreachable as error:
            failure = error
        except RealMailRefused:
            raise
        except Exception as error:  # noqa: BLE001  # one mail's error is that mail's outcome
            if reserved:
                await connection.client.close()
            await self._mails.failed(begin.mail.id, error)
        finally:
            self._mails.let_go(begin.mail.id)
            if reserved:
                closing = self._free(begin, connection, taken=False)
                if failure is not None:  # before the lane is looked at again
                    self._not_sent(begin, failure)
                await self._connections.close(closing)

    def _free(self, begin: LaneBegin, connection: LaneConnection, *, taken: bool) -> list[LaneConnection]:
        """A mail needs its connection no more. Returns the connection if it is to be closed."""
        connection.busy = False
        connection.idle_since_s = asyncio.get_running_loop().time()
        self._rules.lift(self.board.ended(begin.lane, self.now_us(), taken=taken))
        ended = connection.lost or not connection.client.usable
        return self._retire([connection] if ended else [], given_up=connection.lost)

    def _not_sent(self, begin: LaneBegin, failure: Unreachable) -> None:
        if isinstance(failure, LookupFailed):
            self._lost(begin.mail.domain)
        else:
            self.board.failed(begin.lane, self.now_us())
            self._unreachable(begin.lane, failure, begin.mail.kind)

    async def _deliver(self, begin: LaneBegin, connection: LaneConnection, taken: Callable[[], None]) -> None:
        await self._connections.turn_to(connection, self.board.lane(begin.lane), begin.egress)
        refusal = await self._mails.send(begin, connection.client, taken)
        if refusal is not None:
            self._rules.see(begin.egress, begin.mail.kind, refusal.reply, refusal.state)

    def _retire(self, connections: Iterable[LaneConnection], *, given_up: bool = False) -> list[LaneConnection]:
        """From now on those that carry no mail are not used any more. Returns them: they are to be closed."""
        retired = [each for each in connections if not each.busy]
        for each in retired:
            self._connections.forget(each)
            self.board.closed(each.key)
            if given_up:
                self.board.gave_up(each.key, self.now_us())
        return retired

    async def _keep_leases(self) -> None:
        """Renew slots, close what is idle, and forget what is not used."""
        now_s = asyncio.get_running_loop().time
        drop_at_s = now_s() + UNUSED_S
        while True:
            self._watchdog.beat()
            await asyncio.sleep(RENEW_S)
            closing = self._retire(await self._connections.renew(self._limits), given_up=True)
            closing += self._retire(self._connections.idle(self._patience_s))
            if closing:  # the next renewal does not wait for hosts that say no goodbye
                self._tasks.start("close", self._connections.close(closing))
            self._taker.look_for_late()
            if now_s() >= drop_at_s:
                drop_at_s = now_s() + UNUSED_S
                self.board.drop_unused(self.now_us())
                self._taker.drop_unused()

    def _patience_s(self, key: LaneKey) -> float:
        """How long a connection of a lane may carry no mail."""
        patience = self.board.lane(key).keys.idle_timeout
        return float("inf") if patience is None else patience.total_seconds()

    def _limits(self, key: LaneKey) -> dict[str, int]:
        lane = self.board.lane(key)
        return dict(connection_limits(lane.egress, lane.keys))
