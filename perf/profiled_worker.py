"""Ebbtide's worker under a sampling profiler: what its event loop's thread does while the process uses CPU.

It samples by CPU time, a thousand times a second, so that an idle worker shows nothing. A call into C counts for the
calling line. The profile is printed when the worker ends.
"""

import signal
import sys
from collections import Counter
from types import CodeType, FrameType

from cli.environment import Environment

SAMPLE_S = 0.001
TOP = 25


class Sampler:
    """Counts where the main thread is after each millisecond of CPU time of the process."""

    def __init__(self) -> None:
        self.samples = 0
        self._self: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Starts sampling, in the main thread."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def stop(self) -> None:
        """Stops sampling."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.samples += 1
        self._self[frame.f_code] += 1
        within: set[CodeType] = set()
        at: FrameType | None = frame
        while at is not None:
            within.add(at.f_code)
            at = at.f_back
        self._within.update(within)

    def table(self) -> str:
        """The functions with the most samples in them, and those with the most samples in or below them."""
        lines = [f"profile: {self.samples} samples of 1 ms CPU"]
        for title, counted in (("in", self._self), ("in or below", self._within)):
            lines.append(f"  {title}:")
            for code, count in counted.most_common(TOP):
                name = f"{code.co_filename.rpartition('site-packages/')[2]}:{code.co_firstlineno} {code.co_qualname}"
                lines.append(f"  {100 * count / self.samples:6.1f} %  {name[-110:]}")
        return "\n".join(lines)


def main(slot: int) -> None:
    """Runs the worker until a signal, then prints."""
    import streams.faust.worker
    from cli.running import run_streams_worker

    setattr(streams.faust.worker, "leave", sys.exit)  # noqa: B010 - it would end the process before anything is printed
    sampler = Sampler()
    sampler.start()
    try:
        run_streams_worker(Environment.of(), slot)
    finally:
        sampler.stop()
        sys.stdout.write(sampler.table() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
