"""Watches every task and thread of a process, and logs which one stalls, and where.

Each part beats once in every turn of its loop. While it waits for work it rests, and need not beat. The watchdog is a
thread of its own, so that it also sees an event loop that stalls.
"""

import asyncio
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread, current_thread
from types import FrameType
from typing import Any

import structlog

LOOK_S = 1.0
STALLED_AFTER_S = 90.0
"""More than the minute after which PostgreSQL cancels a statement."""
DEEPEST = 12

Part = asyncio.Task[Any] | Thread


@dataclass(slots=True)
class _Pulse:
    part: Part
    bound_s: float
    beat_at_s: float
    rests: int = 0
    reported: bool = False


@dataclass(slots=True)
class Watchdog:
    """Knows when each part beat last. Safe in any thread."""

    bound_s: float = STALLED_AFTER_S
    _pulses: dict[Part, _Pulse] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def beat(self, bound_s: float | None = None) -> None:
        """Reports progress of the calling task or thread. It is stalled if it does not beat again within `bound_s`."""
        part, now_s = _caller(), time.monotonic()
        with self._lock:
            pulse = self._pulses.get(part)
            if pulse is None:
                pulse = self._pulses[part] = _Pulse(part, self.bound_s, now_s)
            pulse.beat_at_s, pulse.reported = now_s, False
            if bound_s is not None:
                pulse.bound_s = bound_s

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Lets the calling task or thread wait for work without a bound."""
        self.beat()
        pulse = self._pulses[_caller()]
        pulse.rests += 1
        try:
            yield
        finally:
            pulse.rests -= 1
            self.beat()

    def look(self, now_s: float) -> list[tuple[Part, float]]:
        """The parts that made no progress for longer than their bound, each reported once, with the seconds."""
        with self._lock:
            for part in [part for part in self._pulses if _has_ended(part)]:
                del self._pulses[part]
            stalled = [
                pulse
                for pulse in self._pulses.values()
                if not pulse.reported and not pulse.rests and now_s - pulse.beat_at_s > pulse.bound_s
            ]
            for pulse in stalled:
                pulse.reported = True
            return [(pulse.part, now_s - pulse.beat_at_s) for pulse in stalled]

    def stalled(self) -> list[str]:
        """The names of the parts that are stalled now."""
        with self._lock:
            return sorted(name_of(pulse.part) for pulse in self._pulses.values() if pulse.reported)

    def run(self, end: Event) -> None:
        """Looks once a second and logs what is stalled, until `end`."""
        log = structlog.get_logger("infra.service.watchdog")
        while not end.wait(LOOK_S):
            for part, idle_s in self.look(time.monotonic()):
                log.error("stalled", part=name_of(part), for_s=round(idle_s, 1), where=where(part))


def _caller() -> Part:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return current_thread() if task is None else task


def _has_ended(part: Part) -> bool:
    return not part.is_alive() if isinstance(part, Thread) else part.done()


def name_of(part: Part) -> str:
    """The name under which a task or thread was started."""
    return part.name if isinstance(part, Thread) else part.get_name()


def where(part: Part) -> list[str]:
    """Where a task or thread is: file, line and function, the innermost first."""
    if isinstance(part, Thread):
        frame = sys._current_frames().get(part.ident or 0)
        frames: Iterable[tuple[FrameType, int]] = traceback.walk_stack(frame) if frame else []
    else:
        frames = reversed(list(_await_chain(part)))
    places = [f"{f.f_code.co_filename.rpartition('/')[2]}:{line} ({f.f_code.co_name})" for f, line in frames]
    return places[:DEEPEST]


def _await_chain(task: asyncio.Task[Any]) -> Iterator[tuple[FrameType, int]]:
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
