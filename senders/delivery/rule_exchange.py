"""What replies trigger: it acts on the lanes of this worker at once, and on those of the others within a second."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.watchdog import Watchdog
from schemas.outcomes import Reply
from senders.shaping import action_table
from senders.shaping.action_table import ActionChange
from senders.shaping.actions import ActiveAction
from senders.shaping.automation import ReplyWatch, SeenReply
from senders.shaping.document import SmtpState
from senders.shaping.lane_board import LaneBoard
from senders.shaping.resolution import Egress
from senders.shaping.ways import TrafficKind

FOLLOW_S = 1.0
"""How soon a worker knows what another one has found out."""
FORGET_S = 3600.0
"""How often actions are deleted that ended long ago."""


class RuleExchange:
    """Used in the event loop's thread; `database` is used by nothing else. `now_us` is by the server's clock.

    `changed` is called when other actions may be in force.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        board: LaneBoard,
        now_us: Callable[[], int],
        changed: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._board = board
        self._now_us = now_us
        self._changed = changed
        self._watchdog = watchdog
        self._watch = ReplyWatch()
        self._begun: list[ActiveAction] = []
        self._lifted: list[ActiveAction] = []

    def see(self, egress: Egress, kind: TrafficKind, reply: Reply, state: SmtpState) -> None:
        """A server replied this on a way."""
        words = (str(reply.code), reply.enhanced, reply.text)
        seen = SeenReply(" ".join(word for word in words if word), state, self._now_us())
        if found := self._watch.see(egress, kind, seen):
            self._board.act(found)
            self._begun += found

    def lift(self, actions: Collection[ActiveAction]) -> None:
        """These actions are over."""
        self._lifted += actions

    async def run(self) -> None:
        """Publish what this worker's replies have triggered, and take up what others have, until cancelled."""
        number, forget_at_s = 0, 0.0
        while True:
            self._watchdog.beat()
            now_s = asyncio.get_running_loop().time()
            if now_s >= forget_at_s:
                forget_at_s = now_s + FORGET_S
                await self._database.run(lambda at: action_table.forget(at, self._now_us()))
            changes = await self._exchange(number)
            if changes:
                number = changes[-1].number
                self._board.follow((each.action, each.lifted) for each in changes)
                self._changed()
            await asyncio.sleep(FOLLOW_S)

    async def _exchange(self, after: int) -> list[ActionChange]:
        """Write what is new here, and read all that is new since a number."""
        begun, self._begun = self._begun, []
        lifted, self._lifted = self._lifted, []

        async def exchange(connection: AsyncConnection[Any]) -> list[ActionChange]:
            if begun or lifted:
                await action_table.write(connection, begun)
                await action_table.lift(connection, lifted)
            return await action_table.read(connection, after)

        return await self._database.run(exchange)
