"""The one way in which our asyncio code waits for an event with a time-out.

`asyncio.wait_for` must not be used: on Python 3.11 it swallows a cancellation that arrives in the same turn of the loop
in which the event is set (https://github.com/python/cpython/issues/86296), and the task waits for ever. The linter
refuses it. Where something else than an event is awaited, `asyncio.timeout` is safe.
"""

import asyncio


async def event_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Waits until `event` is set; returns False if that takes longer than `timeout_s`. Never loses a cancellation.

    It awaits the event in the calling task. A cancellation therefore reaches the await itself, whatever is set then.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
