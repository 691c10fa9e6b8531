"""A rebalance may come at any point of a recovery, also while Faust resumes its streams."""

import asyncio

import pytest
from faust.tables.recovery import RebalanceAgain, ServiceStopped

from infra.kafka.connection import Connection
from streams.faust.recovery_service import Recovery
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.runtime.recovery import NewerAssignment


@pytest.mark.parametrize("overtaken", [NewerAssignment, RebalanceAgain])
async def test_a_recovery_that_a_rebalance_overtakes_begins_again(
    monkeypatch: pytest.MonkeyPatch, overtaken: type[Exception]
) -> None:
    recovered: list[int] = []

    async def recover(self: Recovery, generation: int) -> None:
        recovered.append(generation)
        if generation == 1:
            await self.on_rebalance(set(), set(), set(), 2)
            raise overtaken
        raise ServiceStopped

    monkeypatch.setattr(Recovery, "_recover", recover)
    settings = RuntimeSettings(name="g", slot="0", connection=Connection("127.0.0.1:1"), inputs=("t",), partitions=1)
    app = Runtime(settings).app
    recovery = Recovery(app, app.tables)
    await recovery.on_rebalance(set(), set(), set(), 1)
    async with asyncio.timeout(5):
        await recovery._restart_recovery(recovery)
    assert recovered == [1, 2]
