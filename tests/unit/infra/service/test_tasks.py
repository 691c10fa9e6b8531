"""Tasks that come and end one by one: their ends, and the first error of any."""

import asyncio

import pytest

from infra.service.tasks import TaskSet


async def succeed() -> None:
    pass


async def fail(text: str) -> None:
    raise ValueError(text)


async def test_the_end_of_each_task_is_told_and_the_first_error_is_the_defect_of_all() -> None:
    ended = asyncio.Queue[None]()
    tasks = TaskSet(lambda: ended.put_nowait(None))
    for work in (succeed(), fail("first"), fail("second")):
        tasks.start("work", work)
        await ended.get()

    with pytest.raises(ValueError, match="first"):
        await tasks.raise_defect()


async def test_tasks_that_are_cancelled_at_the_end_are_no_defect() -> None:
    tasks = TaskSet(lambda: None)
    forever = asyncio.Event()

    async def wait() -> None:
        await forever.wait()

    tasks.start("work", wait())
    defect = asyncio.create_task(tasks.raise_defect())
    await asyncio.sleep(0)
    await tasks.end()

    assert not defect.done()
    defect.cancel()
