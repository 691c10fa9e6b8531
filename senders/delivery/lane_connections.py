"""The connections of lanes. Each has a slot of each limit that counts it, over all workers, for as long as it is there.

A connection is for domains that demand the same of their hosts. A mail of another domain of the lane's site takes the
place of an idle one: its client connects anew, under the same slots.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from infra.postgres.database import AsyncDatabase
from senders.channels.channel import ChannelClient
from senders.channels.lane_routes import FindLaneRoute
from senders.shaping import connection_leases
from senders.shaping.connection_leases import LEASE_S, ConnectionLease, LeaseRequest
from senders.shaping.keys import KEYS
from senders.shaping.lane_limits import connection_limits
from senders.shaping.lane_state import LaneKey, LaneState
from senders.shaping.resolution import Egress

_OF_LANES = ("limit", "rate", "retry_interval", "delay", "idle_timeout")
_OF_SESSIONS = frozenset(key for key in KEYS if not key.endswith(_OF_LANES))
"""Keys that a session has from its begin: TLS, time-outs, how many mails it carries."""
RELEASE_WITHIN_S = 0.5
"""How long giving the slots back may take at the end. Without it, they are free when their leases run out."""


@dataclass(eq=False, slots=True)
class LaneConnection:
    """One client with its slots."""

    key: LaneKey
    client: ChannelClient
    demands: str
    domain: str
    changes: Mapping[str, Any]
    """Values of keys that it was opened with instead of those of the file."""
    leases: dict[ConnectionLease, int] = field(default_factory=dict)
    """With the limit of each."""
    busy: bool = False
    lost: bool = False
    """Whether its slots went to another worker: it is closed when its mail has ended."""
    idle_since_s: float = 0.0


class LaneConnections:
    """Used in the event loop's thread; `database` is used by nothing else.

    If they are not `shared`, the limits are this worker's own, and need no slots.
    """

    def __init__(self, database: AsyncDatabase, owner: str, find_route: FindLaneRoute, *, shared: bool = True) -> None:
        self._shared = shared
        self._database = database
        self._owner = owner
        self._find_route = find_route
        self._connections: dict[LaneKey, dict[LaneConnection, None]] = {}
        self._renewed_s = float("-inf")
        """When the last renewal began that has an answer, or the first slots were taken. All slots are as fresh."""

    @property
    def sure(self) -> bool:
        """Whether no slot can have run out. After a freeze that is unsure until the next renewal."""
        return not self._shared or not self._connections or time.monotonic() - self._renewed_s < LEASE_S

    async def open(self, lane: LaneState, egress: Egress) -> LaneConnection | None:
        """A connection that is ready for mails on this way of its lane; None if no slot is free.

        Raises Unreachable if no host answers, and LookupFailed if the hosts of the domain are not known now.
        """
        limits = connection_limits(lane.egress, lane.keys) if self._shared else []
        got = await self._acquire(limits)
        if got is None:
            return None
        most_of = dict(limits)
        leases = {each: most_of[each.name] for each in got}
        try:
            made = await self._connect(lane, egress, leases)
        except BaseException:
            await self._release(got)
            raise
        if made.lost:
            self.forget(made)
            await self.close([made])
            return None
        return made

    async def _connect(self, lane: LaneState, egress: Egress, leases: dict[ConnectionLease, int]) -> LaneConnection:
        """A connection under these slots, which are renewed from now on: opening it may take long."""
        route, changes = await self._find_route(lane.changed(egress)), _of_session(lane)
        client = route.channel.client()
        made = LaneConnection(lane.key, client, route.demands, egress.domain, changes, leases, busy=True)
        self._connections.setdefault(lane.key, {})[made] = None
        try:
            await client.connect()
        except BaseException:
            self.forget(made)
            raise
        made.busy = made.lost
        return made

    async def _acquire(self, limits: Collection[tuple[str, int]]) -> list[ConnectionLease] | None:
        """A slot of each of these limits; None if one has none free."""
        if not limits:
            return []
        if not self._connections:
            self._renewed_s = time.monotonic()
        requests = [LeaseRequest(name, most, 1) for name, most in limits]
        got = await self._database.run(lambda at: connection_leases.acquire(at, self._owner, requests), alone=True)
        if len(got) == len(requests):
            return got
        await self._release(got)
        names = {name for name, _ in limits} - {each.name for each in got}
        await self._database.run(lambda at: connection_leases.want(at, self._owner, names), alone=True)
        return None

    def reserve(self, key: LaneKey, domain: str) -> LaneConnection:
        """An idle connection of a lane, best one that goes to this domain. The board begins no mail without one."""
        idle = [each for each in self._connections[key] if not each.busy]
        found = next((each for each in idle if each.domain == domain), idle[0])
        found.busy = True
        return found

    async def turn_to(self, connection: LaneConnection, lane: LaneState, egress: Egress) -> None:
        """Let a reserved connection go where mails on this way of its lane may go, with the keys as they are now."""
        changes = _of_session(lane)
        if (connection.domain, connection.changes) == (egress.domain, changes):
            return
        route = await self._find_route(lane.changed(egress))
        if (connection.demands, connection.changes) == (route.demands, changes):
            connection.client = route.channel.client(connection.client)
        else:
            await connection.client.close()
            connection.client = route.channel.client()
        connection.demands, connection.domain, connection.changes = route.demands, egress.domain, changes

    def forget(self, connection: LaneConnection) -> None:
        """From now on nothing uses a connection any more. It is to be closed."""
        of_lane = self._connections.get(connection.key, {})
        of_lane.pop(connection, None)
        if not of_lane:
            self._connections.pop(connection.key, None)

    def _all(self) -> list[LaneConnection]:
        return [each for of_lane in self._connections.values() for each in of_lane]

    async def close(self, connections: Collection[LaneConnection]) -> None:
        """Close connections that were forgotten, all at once, and give their slots back."""
        await asyncio.gather(*(each.client.close() for each in connections))
        await self._release([lease for each in connections for lease in each.leases])

    async def renew(self, limit_of: Callable[[LaneKey], dict[str, int]]) -> list[LaneConnection]:
        """Renew all slots, under the limits as they are now. Returns the idle connections that are to be closed.

        Those that carry a mail and are to be closed are `lost` from then on.
        """
        began_s = time.monotonic()
        connections = self._all()  # those that are opened meanwhile have fresh leases
        for each in connections:
            limits = limit_of(each.key)
            each.leases = {lease: limits.get(lease.name, 1) for lease in each.leases}
        held = [(lease, most) for each in connections for lease, most in each.leases.items()]
        if not held:
            self._renewed_s = began_s
            return []
        kept = await self._database.run(lambda at: connection_leases.renew(at, self._owner, held), alone=True)
        self._renewed_s = began_s
        for each in connections:
            each.lost = each.lost or not kept.keys() >= each.leases.keys()
        self._share({lease.name for lease, wanted in kept.items() if wanted})
        return [each for each in self._all() if each.lost and not each.busy]

    def _share(self, wanted: set[str]) -> None:
        """Give up what other workers want: idle connections, or else one of more than half of a limit."""
        for name in wanted:
            mine = [each for each in self._all() if not each.lost and name in map(_name, each.leases)]
            idle = [each for each in mine if not each.busy]
            most = next((limit for each in mine for lease, limit in each.leases.items() if lease.name == name), 0)
            for each in idle or (mine[:1] if len(mine) > most // 2 else []):
                each.lost = True

    def idle(self, patience_s: Callable[[LaneKey], float]) -> list[LaneConnection]:
        """The connections that have carried no mail for longer than their lane has patience."""
        now_s = asyncio.get_running_loop().time()
        return [each for each in self._all() if not each.busy and now_s - each.idle_since_s > patience_s(each.key)]

    async def close_all(self) -> None:
        """Close everything, all at once, and give the slots back if the database answers soon."""
        closing = self._all()
        self._connections.clear()
        await asyncio.gather(*(each.client.close() for each in closing))
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await self._release([lease for each in closing for lease in each.leases])

    async def _release(self, leases: Collection[ConnectionLease]) -> None:
        if leases:
            await self._database.run(lambda at: connection_leases.release(at, self._owner, leases), alone=True)


def _of_session(lane: LaneState) -> Mapping[str, Any]:
    """What rules and people have set of a lane's keys that a session has from its begin."""
    return {key: action.values[key] for key, action in lane.changes.items() if key in _OF_SESSIONS}


def _name(lease: ConnectionLease) -> str:
    return lease.name
