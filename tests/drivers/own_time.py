"""How long something takes by itself, in a test run that does and holds much else."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if the block takes more of the processor's time: its own thread's, and none for collecting what others
    have left, which after many tests alone is most of a second."""
    gc.freeze()
    try:
        began_s = time.thread_time()
        yield
        took_s = time.thread_time() - began_s
    finally:
        gc.unfreeze()
    assert took_s < seconds, f"{took_s:.2f} s"
