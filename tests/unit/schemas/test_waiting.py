"""Waiting for an event with a time-out, and tasks that end together: no cancellation is lost on Python 3.11."""

import asyncio
import threading

import pytest

from infra.service.tasks import StillRunning, end_tasks, run_in_thread, run_together
from schemas.waiting import event_within


class LaneFailure(Exception):
    """What a lane raises."""


async def test_an_event_that_is_set_in_time_is_distinguished_from_one_that_is_not() -> None:
    event = asyncio.Event()
    assert not await event_within(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await event_within(event, 10)
    assert await event_within(event, 0)


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_in_the_turn_in_which_the_event_is_set_is_not_lost(turns: int) -> None:
    event = asyncio.Event()

    async def wait_for_ever() -> None:
        while True:
            event.clear()
            await event_within(event, 0.25)

    waiter = asyncio.create_task(wait_for_ever())
    for _ in range(3):
        await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiter.cancel()
    done, _ = await asyncio.wait({waiter}, timeout=2)
    assert done, "the cancellation was lost"
    assert waiter.cancelled()


async def test_a_task_that_sets_an_event_and_fails_ends_the_group_with_its_error() -> None:
    wake, jobs = asyncio.Event(), asyncio.Queue[int]()

    async def take() -> None:
        while True:
            wake.clear()
            await event_within(wake, 0.25)

    async def lane() -> None:
        await jobs.get()
        wake.set()
        raise LaneFailure

    jobs.put_nowait(1)
    with pytest.raises(LaneFailure):
        async with asyncio.timeout(3):
            await run_together({"taker": take(), "lane": lane()})


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def lose_one() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LaneFailure

    with pytest.raises(LaneFailure):
        await run_together({"loses one": lose_one(), "fails": fail()})
    assert lost == 1


async def test_a_task_that_ignores_cancellation_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    done = asyncio.Event()

    async def ignore() -> None:
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(ignore(), name="the stubborn one")
    await asyncio.sleep(0)
    assert await end_tasks([task], within_s=0.05) == {task}
    output = capsys.readouterr().out
    assert "stop_overdue" in output
    assert "the stubborn one" in output
    assert "(ignore)" in output, "it says where the task stands"
    done.set()
    await task


async def test_a_group_reports_a_task_that_does_not_end_with_the_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.service.tasks.END_WITHIN_S", 0.05)
    done = asyncio.Event()

    async def ignore() -> None:
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                continue

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LaneFailure

    with pytest.raises(StillRunning, match="stubborn") as raised:
        await run_together({"stubborn": ignore(), "fails": fail()})
    assert isinstance(raised.value.__cause__, LaneFailure)
    done.set()


async def test_a_thread_hands_over_its_result_or_its_error() -> None:
    assert await run_in_thread("one", threading.current_thread) is not threading.current_thread()

    def fail() -> None:
        raise LaneFailure

    with pytest.raises(LaneFailure):
        await run_in_thread("two", fail)
