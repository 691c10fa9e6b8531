"""Health, gauges and pages of one delivery worker, put together."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from threading import Event
from typing import Any

from infra.kafka.connection import Connection
from infra.postgres.database import AsyncDatabase
from infra.service.health import WorkerIdentity
from infra.service.outages import Outage
from infra.service.pages import Pages, PageServer
from infra.service.watchdog import Watchdog
from senders.delivery.worker import DeliveryWorker
from senders.monitoring.gauges import BrokerGauges, LedgerGauges, PartitionBacklog, Positions
from senders.monitoring.health import DeliveryHealth
from senders.monitoring.lane_report import LaneReport, binding_json
from senders.monitoring.metrics import Readings, SenderMetrics
from senders.queue.intake import CommandIntake
from senders.queue.lines import line_with


class Monitor:
    """Shows what one worker does. `positions` returns how far each consumer group has read. Without an identity no
    pages are served."""

    def __init__(
        self,
        worker: DeliveryWorker,
        metrics: SenderMetrics,
        outages: Sequence[Outage],
        watchdog: Watchdog,
        database: AsyncDatabase,
        connection: Connection,
        positions: Mapping[str, Positions],
        identity: WorkerIdentity | None,
    ) -> None:
        self._worker = worker
        self._outages = outages
        slot, restarts = (identity.slot, identity.restarts) if identity else (0, 0)
        self.health = DeliveryHealth(slot, restarts, lambda: worker.arriving, lambda: worker.held, outages, watchdog)
        self._ledger_gauges = LedgerGauges(database, lambda: worker.held, watchdog)
        [kafka] = [outage for outage in outages if outage.server == "kafka"]
        self._broker_gauges = BrokerGauges(connection, positions, kafka)
        metrics.read(
            Readings(
                ready=lambda: self.health.ready,
                in_flight=lambda: worker.in_flight,
                suspended=worker.suspended_endpoints,
                outages=outages,
                backlog=lambda: self._ledger_gauges.now,
                lags=lambda: self._broker_gauges.lags,
                held=lambda: self._ledger_gauges.budgets,
            )
        )
        pages = Pages(self.health, metrics.page, self._details, self._find)
        self._server = None if identity is None else PageServer(pages, identity.port)

    def _details(self) -> dict[str, Any]:
        """What /status adds. Of a partition that was not measured yet, all but its number and lag is null."""
        lags = self._broker_gauges.lags
        unknown: dict[str, Any] = dict.fromkeys(field.name for field in fields(PartitionBacklog))
        measured = {backlog.partition: asdict(backlog) for backlog in self._ledger_gauges.now}
        return {
            "mails_in_flight": self._worker.in_flight,
            "servers_away": [outage.server for outage in self._outages if outage.is_away],
            "partitions": [
                measured.get(number, unknown) | {"partition": number, "lag": lags.get((CommandIntake.group, number))}
                for number in sorted(self._worker.held)
            ],
            "budgets": dict(self._ledger_gauges.budgets),
            **self._lanes().as_json(),
        }

    def _find(self, id_: str) -> dict[str, Any] | None:
        """What a command waits for that is in this worker's memory, or a line of those in the ledger."""
        line = line_with(id_)
        binding = self._worker.waits_for(id_) if line is None else self._worker.line_waits_for(line)
        return None if binding is None else binding_json(binding)

    def _lanes(self) -> LaneReport:
        worker, now_s = self._worker, asyncio.get_running_loop().time()
        holding = [f"the budget {name} holds commands; see `ebbtide budgets`" for name in self._ledger_gauges.budgets]
        return LaneReport(worker.board, worker.pace, [*worker.problems(), *holding], now_s, worker.server_time_us())

    async def start(self) -> None:
        """Serves the pages."""
        if self._server is not None:
            await self._server.start()

    async def stop(self) -> None:
        """Serves them no more."""
        if self._server is not None:
            await self._server.stop()

    async def measure_ledger(self) -> None:
        """Measures what waits in the ledger, until it is cancelled."""
        await self._ledger_gauges.run()

    def measure_broker(self, halt: Event) -> None:
        """Measures how far consumer groups are behind, until `halt`. For a thread."""
        self._broker_gauges.run(halt)
