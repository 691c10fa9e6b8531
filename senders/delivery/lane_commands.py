"""The commands whose mails go by lanes: what becomes of each that begins, and of each that cannot."""

import asyncio
from collections.abc import Awaitable, Callable

from infra.service.outages import Outage
from infra.service.watchdog import STALLED_AFTER_S, Watchdog
from schemas.vocabulary import LedgerState
from senders.channels.channel import ChannelClient, SendResult, Unreachable
from senders.channels.lane_routes import LaneRoutes
from senders.delivery.answers import AnswerRecorder
from senders.delivery.lane_driver import LaneRefusal
from senders.delivery.lane_pace import LanePace
from senders.delivery.mail_sender import MailSender
from senders.delivery.ready_queue import ReadyQueue
from senders.delivery.traces import ConversationTrace, Traces
from senders.queue.retry import RetryPolicy
from senders.shaping.document import SmtpState
from senders.shaping.keys import DEFAULTS
from senders.shaping.lane_decider import LaneBegin


class LaneCommands:
    """Used in the event loop's thread only. `wake` asks the scheduler for more commands."""

    def __init__(
        self,
        ready: ReadyQueue,
        sender: MailSender,
        answers: AnswerRecorder,
        routes: LaneRoutes,
        relay_outage: Outage,
        retry_jitter: float,
        wake: Callable[[], None],
        watchdog: Watchdog,
        pace: LanePace,
        traces: Traces,
    ) -> None:
        self._ready = ready
        self.let_go = ready.done
        """Forgets a command that has its answer."""
        self._sender = sender
        self._answers = answers
        self._routes = routes
        self._relay_outage = relay_outage
        self._retry_jitter = retry_jitter
        self._wake = wake
        self._watchdog = watchdog
        self._pace = pace
        self._traces = traces

    def begun(self, mail_id: str) -> None:
        """Count a command as on its way, and have more taken in time."""
        self._ready.begin(mail_id)
        if self._ready.low:
            self._wake()

    async def send(self, begin: LaneBegin, client: ChannelClient, taken: Callable[[], None]) -> LaneRefusal | None:
        """Bring a command to its answer."""
        job = self._ready.job(begin.mail.id)
        self._pace.began(begin.lane, asyncio.get_running_loop().time())
        self._watchdog.beat(self._routes.longest_send_s + STALLED_AFTER_S)
        trace = self._traces.begin(begin.mail.domain)
        sending = self._sender.send(job, begin, client, self._retry(begin), taken)
        result = await (sending if trace is None else _traced(begin, client, sending, trace))
        if result is None or result.reply is None or result.state is LedgerState.ACCEPTED:
            return None
        return LaneRefusal(result.reply, result.answered or SmtpState.DOT)

    def _retry(self, begin: LaneBegin) -> RetryPolicy:
        """When a mail of this lane is tried again."""
        first = begin.keys.retry_interval or DEFAULTS.retry_interval
        assert first is not None, "there is a built-in value"
        return RetryPolicy(first, begin.keys.max_retry_interval or first, self._retry_jitter)

    async def failed(self, mail_id: str, error: Exception) -> None:
        """Make an unexpected error the outcome of its command."""
        await self._sender.failed(self._ready.job(mail_id), error)

    async def set_back(self, mail_id: str, error: Exception) -> None:
        """Let a command wait in the ledger that its lane cannot take, unless its partition has left meanwhile."""
        if mail_id not in self._ready.in_hand:
            return
        await self._answers.postponed(self._ready.job(mail_id), error)
        self._ready.done(mail_id)

    def reached(self, failure: Unreachable | None) -> None:
        """Note whether the relay answers. Of many servers, one that is away is no outage."""
        if not self._routes.one_lane:
            return
        if failure is None:
            self._relay_outage.back()
        else:
            self._relay_outage.away(failure)


async def _traced(
    begin: LaneBegin, client: ChannelClient, sending: Awaitable[SendResult | None], trace: ConversationTrace
) -> SendResult | None:
    """Let somebody watch what is said about a mail, and what became of it."""
    client.tracer, ended = trace, "* ended by an error of ours"
    trace(f"* {begin.mail.domain} by the lane {begin.lane}, trigger {begin.mail.kind.trigger}")
    try:
        result = await sending
        ended = "* no mail was begun" if result is None else f"* {result.state}: {result.reason or 'taken'}"
    except Unreachable:
        ended = "* no server took it: the command waits as before"
        raise
    finally:
        if client.tracer is trace:
            client.tracer = None
        trace.end(ended)
    return result
