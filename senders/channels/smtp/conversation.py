"""The commands on one connection and their replies, paired strictly in order; takes the transport of a ready session.

aiosmtplib makes the session, but allows one command in flight and drops what arrives between commands. Here any number
of commands may be in flight, and a line that answers none of them ends the connection.
"""

import asyncio
from collections import deque
from typing import Final

from schemas.vocabulary import DeliveryReason
from senders.channels.smtp.reply_parser import BadReply, RawReply, ReplyParser

SLICE: Final = 65_536
"""How much is written at once. Each further piece waits until the transport has room again."""


class ConversationEnded(ConnectionError):
    """No reply comes any more; `reason` says why."""

    def __init__(self, reason: DeliveryReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Conversation(asyncio.Protocol):
    """Used by one task."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._replies: deque[RawReply] = deque()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._end: DeliveryReason | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.content_sent = False
        """Whether the end of the last content is written, so that the server may have it."""
        transport.set_protocol(self)

    @property
    def open(self) -> bool:
        """Whether another command may be sent, as far as we know."""
        unasked = not self._expected and not self._parser.idle
        return self._end is None and not unasked and not self._transport.is_closing()

    @property
    def unread(self) -> bool:
        """Whether a reply is there that was not read yet."""
        return bool(self._replies)

    def send(self, data: bytes, replies: int) -> None:
        """Write commands that `replies` replies will answer; raises ConversationEnded."""
        self._expect(replies)
        self._transport.write(data)

    def _expect(self, replies: int) -> None:
        if not self.open:
            raise ConversationEnded(self._end or DeliveryReason.DISCONNECTED)
        self._expected += replies

    async def send_content(self, data: bytes, replies: int, timeout_s: float) -> None:
        """Write a mail's content: its last piece, with the end, only once the transport has taken most of the rest.

        Raises ConversationEnded, also if all replies came before the end: the server reads no more.
        """
        self.content_sent = False
        self._expect(replies)
        start, last = 0, len(data) - SLICE
        while start < last:
            self.send(data[start : start + SLICE], 0)
            start += SLICE
            if self._room is not None:
                await self._within(self._room, timeout_s)
            if not self._expected:
                self._ended(DeliveryReason.BAD_REPLY)
        self.send(data[start:] if start else data, 0)
        self.content_sent = True

    async def reply(self, timeout_s: float) -> RawReply:
        """The reply to the oldest unanswered command; raises ConversationEnded."""
        if not self._replies:
            if self._end is not None:
                raise ConversationEnded(self._end)
            self._waiter = self._loop.create_future()
            await self._within(self._waiter, timeout_s)
            if not self._replies:
                raise ConversationEnded(self._end or DeliveryReason.DISCONNECTED)
        return self._replies.popleft()

    async def _within(self, waiter: asyncio.Future[None], timeout_s: float) -> None:
        """Wait for the server, which may take so long. The timer outlives the wait: each mail waits again soon."""
        self._deadline = self._loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        await waiter
        self._deadline = 0.0

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self._ended(DeliveryReason.TIMED_OUT)

    def abort(self) -> None:
        """Close the connection at once; what is not written yet is lost."""
        self._ended(DeliveryReason.DISCONNECTED)

    async def quit(self, timeout_s: float) -> None:
        """Say goodbye, and close the connection whatever the server answers."""
        try:
            self.send(b"QUIT\r\n", 1)
            await self.reply(timeout_s)
            self._transport.close()
        except ConversationEnded:
            self.abort()

    def _ended(self, reason: DeliveryReason) -> None:
        if self._end is None:
            self._end = reason
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        self._wake(self._waiter)
        self.resume_writing()

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Pair what arrived with the commands in flight; anything else ends the connection."""
        if self._end is not None:
            return
        try:
            replies = self._parser.feed(data, self._expected)
        except BadReply:
            self._replies.clear()  # who answers what no longer shows
            self._ended(DeliveryReason.BAD_REPLY)
            return
        self._expected -= len(replies)
        self._replies.extend(replies)
        if self._parser.closing:
            self._ended(DeliveryReason.DISCONNECTED)
        elif replies:
            self._wake(self._waiter)

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note the end."""
        self._ended(DeliveryReason.DISCONNECTED)

    def pause_writing(self) -> None:
        """The transport has no room."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """The transport has room again."""
        room, self._room = self._room, None
        self._wake(room)
