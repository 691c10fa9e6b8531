"""The watchdog names each part that has stalled for longer than its bound once, with the place."""

import asyncio
import threading
import time

from infra.service.watchdog import Watchdog, name_of, where


async def test_a_stalled_task_is_named_once_with_its_place() -> None:
    watchdog, now_s = Watchdog(bound_s=10), time.monotonic()
    never = asyncio.Event()

    async def wait_in_vain() -> None:
        watchdog.beat()
        await never.wait()

    task = asyncio.create_task(wait_in_vain(), name="lane-7")
    await asyncio.sleep(0)
    assert watchdog.look(now_s + 5) == []
    [(part, idle_s)] = watchdog.look(now_s + 20)
    assert name_of(part) == "lane-7"
    assert idle_s > 10
    assert any("(wait_in_vain)" in place for place in where(part))
    assert watchdog.look(now_s + 30) == [], "logged once"
    task.cancel()


async def test_a_task_at_rest_or_with_a_longer_bound_is_not_stalled() -> None:
    watchdog, now_s = Watchdog(bound_s=10), time.monotonic()
    never = asyncio.Event()

    async def rest() -> None:
        with watchdog.rest():
            await never.wait()

    async def take_long() -> None:
        watchdog.beat(bound_s=1000)
        await never.wait()

    tasks = [asyncio.create_task(rest()), asyncio.create_task(take_long())]
    await asyncio.sleep(0)
    assert watchdog.look(now_s + 500) == []
    for task in tasks:
        task.cancel()


async def test_a_part_that_ended_or_made_progress_is_not_named() -> None:
    watchdog, now_s = Watchdog(bound_s=10), time.monotonic()

    async def end() -> None:
        watchdog.beat()

    await asyncio.create_task(end())
    assert watchdog.look(now_s + 500) == []
    watchdog.beat()
    assert len(watchdog.look(now_s + 500)) == 1
    watchdog.beat()
    assert watchdog.look(time.monotonic()) == []


def test_a_stalled_thread_is_named_with_its_place() -> None:
    watchdog, now_s = Watchdog(bound_s=10), time.monotonic()
    begun, end = threading.Event(), threading.Event()

    def hold_still() -> None:
        watchdog.beat()
        begun.set()
        end.wait()

    thread = threading.Thread(target=hold_still, name="recorder")
    thread.start()
    assert begun.wait(10)
    [(part, _)] = watchdog.look(now_s + 20)
    assert name_of(part) == "recorder"
    assert any("(hold_still)" in place for place in where(part))
    end.set()
    thread.join()
