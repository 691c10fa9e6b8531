"""Whether the server of a channel takes connections, as the lanes of that channel see it together."""

import asyncio
import contextlib
from collections.abc import Callable

from infra.service.outages import Outage, backoff_s
from senders.channels.channel import Channel, ChannelClient, Unreachable

LIMIT_PAUSE_S = 2.0
"""How long a lane pauses that gets no connection while others have one: the server limits their number."""


class ChannelAvailability:
    """One for each channel. Makes the clients of its lanes, to know whether any of them is connected."""

    def __init__(self, channel: Channel, outage: Outage, on_back: Callable[[], None]) -> None:
        self._channel = channel
        self._outage = outage
        self._on_back = on_back
        self._clients: set[ChannelClient] = set()
        self._up = asyncio.Event()
        self._up.set()

    @property
    def up(self) -> bool:
        """Whether commands should be taken for this channel."""
        return self._up.is_set()

    def client(self) -> ChannelClient:
        """A client for one lane, not connected yet."""
        client = self._channel.client()
        self._clients.add(client)
        return client

    async def wait(self, error: Unreachable) -> None:
        """Hold a lane back that could not connect.

        While another lane is connected, the server only limits connections, and this lane pauses. Otherwise the server
        is down. Then the first lane tries for all until it answers, and no command is taken meanwhile.
        """
        if any(client.connected for client in self._clients):
            await asyncio.sleep(LIMIT_PAUSE_S)
            return
        self._outage.away(error)
        if not self._up.is_set():
            await self._up.wait()
            return
        self._up.clear()
        await self._until_it_answers()
        self._outage.back()
        self._up.set()
        self._on_back()

    async def _until_it_answers(self) -> None:
        for wait_s in backoff_s():
            await asyncio.sleep(wait_s)
            with contextlib.suppress(Unreachable):
                client = self._channel.client()
                await client.connect()
                await client.close()
                return
