"""Begins the webhooks that wait in a worker's memory, each as soon as its endpoint, its rate and a connection allow.

The rate of an endpoint holds over all workers: permits come from the table that mails take theirs from. How many calls
of an endpoint are on their way at once is each worker's own.
"""

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from infra.service.tasks import TaskSet, run_together
from infra.service.watchdog import STALLED_AFTER_S, Watchdog
from schemas.endpoints import Endpoint
from schemas.waiting import event_within
from senders.channels.channel import SendResult
from senders.channels.http.channel import CallSettings, WebhookChannel
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.delivery.webhooks.endpoint_health import EndpointHealth
from senders.delivery.webhooks.sender import WebhookSender
from senders.policy.endpoints import EndpointBook, KnownEndpoint
from senders.shaping.gcra import SECOND_US, PacedLimit, PermitRequest
from senders.shaping.permit_taker import PermitTaker
from senders.shaping.quantities import SendRate

LOOK_S = 0.25
"""How often the waiting webhooks are looked at at least."""
IDLE_S = 60.0
"""How often channels are closed, and permits forgotten, that nothing uses any more."""
Called = Callable[[Endpoint, SendResult], None]
MakeChannel = Callable[[CallSettings], WebhookChannel]


@dataclass(slots=True)
class EndpointQueue:
    """What waits for one endpoint, each command once: the highest priority first, then the longest due."""

    heap: list[tuple[int, float, str]] = field(default_factory=list)
    in_flight: int = 0


class WebhookDriver:
    """Used in the event loop's thread only."""

    def __init__(
        self,
        *,
        ready: ReadyQueue,
        book: EndpointBook,
        health: EndpointHealth,
        sender: WebhookSender,
        taker: PermitTaker,
        make_channel: MakeChannel,
        connections: int,
        wake: Callable[[], None],
        called: Called,
        watchdog: Watchdog,
    ) -> None:
        """`wake` asks the scheduler for more; `called` hears of each call that was answered, or not."""
        self._ready = ready
        self._book = book
        self._health = health
        self._sender = sender
        self._taker = taker
        self._make_channel = make_channel
        self._connections = connections
        self._wake_scheduler = wake
        self._called = called
        self._watchdog = watchdog
        self._queues: dict[str, EndpointQueue] = {}
        self._channels: dict[str, WebhookChannel] = {}
        self._retired: list[tuple[float, WebhookChannel]] = []
        """Channels that no call begins on any more, and since when."""
        self._wake, self._ask = asyncio.Event(), asyncio.Event()
        self._tasks = TaskSet(self._wake.set)
        self._asked: dict[str, PermitRequest] = {}

    def put(self, job: DeliveryJob) -> None:
        """A webhook may begin."""
        self._ready.put(job)
        command = job.due.command
        queue = self._queues.setdefault(command.template, EndpointQueue())
        heapq.heappush(queue.heap, (-command.priority, job.due.due_at.timestamp(), command.id))
        self._wake.set()

    def take_out(self, jobs: Collection[DeliveryJob]) -> None:
        """Forget webhooks that wait: their ledger rows get an answer instead, or another worker has them."""
        for job in jobs:
            self._ready.take_out(job.due.command.id)
        for name in {job.due.command.template for job in jobs}:
            queue = self._queues[name]
            queue.heap = [each for each in queue.heap if each[2] in self._ready.waiting]
            heapq.heapify(queue.heap)

    @property
    def names(self) -> Collection[str]:
        """The endpoints that commands came for, also those that are not published any more."""
        return self._queues.keys()

    def waiting(self, name: str) -> list[DeliveryJob]:
        """What waits for an endpoint here."""
        queue = self._queues.get(name)
        return [] if queue is None else [self._ready.waiting[command_id] for _, _, command_id in queue.heap]

    def wake(self) -> None:
        """Endpoints or suspensions may be others."""
        self._wake.set()

    async def run(self) -> None:
        """Drive, until cancelled. Calls that have begun are cancelled too."""
        try:
            await run_together(
                {
                    "webhook-begins": self._begin_all(),
                    "webhook-permits": self._take_permits(),
                    "webhook-channels": self._keep_channels(),
                    "webhook-defects": self._tasks.raise_defect(),
                }
            )
        finally:
            await self._tasks.end()
            for channel in [*self._channels.values(), *(each for _, each in self._retired)]:
                await channel.close()

    async def _begin_all(self) -> None:
        while True:
            self._watchdog.beat()
            self._wake.clear()
            wait_s = LOOK_S
            for name, queue in self._queues.items() if self._health.known else ():
                known = self._book.get(name)
                if known is not None and known.call is not None and self._health.rest(known.endpoint) is None:
                    wait_s = min(wait_s, self._begin_some(queue, known, known.call))
            if self._asked:
                self._ask.set()
            await event_within(self._wake, wait_s)

    def _begin_some(self, queue: EndpointQueue, known: KnownEndpoint, call: CallSettings) -> float:
        """Begin what may begin of one endpoint; returns when to look again, in seconds."""
        most = 1 if self._health.careful(known.endpoint) else self._connections
        for job in self._next(queue):
            if queue.in_flight >= most:
                break
            if (wait_s := self._permit(known.endpoint)) > 0:
                return wait_s
            self._begin(queue, job, known, call)
        return LOOK_S

    def _next(self, queue: EndpointQueue) -> Iterator[DeliveryJob]:
        """The first job, again and again until it begins."""
        while queue.heap:
            yield self._ready.waiting[queue.heap[0][2]]

    def _permit(self, endpoint: Endpoint) -> float:
        """Use a permit of the endpoint's rate; returns 0, or the seconds until one may be used."""
        if endpoint.rate is None:
            return 0.0
        limit = PacedLimit.of(f"endpoint {endpoint.name}", SendRate.parse(endpoint.rate))
        book, now = self._taker.book(limit), self._taker.reading()
        if (request := book.request(now, len(self.waiting(endpoint.name)))) is not None:
            self._asked[limit.name] = request
        if book.use(now):
            return 0.0
        return max(0.001, min(LOOK_S, (book.wake_us(now) - now.now_us) / SECOND_US))

    def _begin(self, queue: EndpointQueue, job: DeliveryJob, known: KnownEndpoint, call: CallSettings) -> None:
        heapq.heappop(queue.heap)
        self._ready.begin(job.due.command.id)
        queue.in_flight += 1
        self._wake_scheduler()
        self._tasks.start("webhook", self._call(queue, job, known, call))

    async def _call(self, queue: EndpointQueue, job: DeliveryJob, known: KnownEndpoint, call: CallSettings) -> None:
        """Make one call. Whatever that raises, other calls go on."""
        try:
            channel = self._channel(call)
            self._watchdog.beat(channel.longest_send_s + STALLED_AFTER_S)
            result = await self._sender.send(job, known, channel.client())
            if result is not None:
                self._health.answered(known.endpoint, result)
                self._called(known.endpoint, result)
        except Exception as error:  # noqa: BLE001  # one call's error is its command's outcome
            await self._sender.failed(job, error)
        finally:
            queue.in_flight -= 1
            self._ready.done(job.due.command.id)

    def _channel(self, call: CallSettings) -> WebhookChannel:
        """The channel of an endpoint as it is published now. Calls on their way end on the one before."""
        name = call.endpoint.name
        channel = self._channels.get(name)
        if channel is None or channel.call != call:
            self._retire(name)
            channel = self._channels[name] = self._make_channel(call)
        return channel

    def _retire(self, name: str) -> None:
        if (channel := self._channels.pop(name, None)) is not None:
            self._retired.append((asyncio.get_running_loop().time(), channel))

    async def _take_permits(self) -> None:
        """One question at a time, for all rates that want permits."""
        while True:
            await self._ask.wait()
            self._ask.clear()
            asked, self._asked = [*self._asked.values()], {}
            if asked:
                await self._taker.take(asked)
                for each in asked:  # what was wanted meanwhile was wanted without this answer
                    self._asked.pop(each.limit.name, None)
                self._wake.set()

    async def _keep_channels(self) -> None:
        """Close channels of endpoints that are published no more, or otherwise."""
        while True:
            await asyncio.sleep(IDLE_S)
            self._taker.look_for_late()
            self._taker.drop_unused()
            for name in self._channels.keys() - self._book.all.keys():
                self._retire(name)
            before_s = asyncio.get_running_loop().time() - IDLE_S
            over = [channel for since_s, channel in self._retired if since_s < before_s - channel.longest_send_s]
            self._retired = [each for each in self._retired if each[1] not in over]
            for channel in over:
                await channel.close()
