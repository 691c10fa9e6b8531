"""Failpoints: places where a test kills or delays the process.

EBBTIDE_FAILPOINT is NAME, NAME:N for the Nth time that it is reached, or NAME:N:ACTION for another action than a kill.
Random kills rarely hit the short phases of a transaction; failpoints always do. If unset, each costs one comparison.
"""

import os
import signal
import sys
import time
from itertools import count
from typing import NamedTuple

NAMES = frozenset(
    {"after_produce", "after_send_offsets", "before_commit", "after_commit", "in_recovery", "abort_before_commit"}
)
"""`abort_before_commit` does not kill: the committer gets an abortable error there, as a coordinator may send one."""


class UnknownFailpoint(ValueError):
    """EBBTIDE_FAILPOINT has an unknown failpoint or action."""


class Failpoint(NamedTuple):
    """When it triggers and what it does: `kill`, `stop` (SIGSTOP; the test continues it), or `wait` for some seconds in
    this thread while the others continue."""

    name: str = ""
    nth: int = 1
    action: str = "kill"
    seconds: float = 0.0


def parse(text: str) -> Failpoint:
    """The failpoint in the variable's value; one without a name if the value is empty."""
    if not text:
        return Failpoint()
    name, nth, action, *_ = [*text.split(":"), "", ""]
    action, _, seconds = action.partition("=")
    known = action in {"", "kill", "stop"} or (action == "wait" and seconds.isdecimal())
    if name not in NAMES or not (nth or "1").isdecimal() or not known:
        raise UnknownFailpoint(
            f"EBBTIDE_FAILPOINT={text}: expected NAME, NAME:N or NAME:N:ACTION, with a name of "
            f"{', '.join(sorted(NAMES))} and an action of kill, stop, wait=SECONDS"
        )
    return Failpoint(name, int(nth or 1), action or "kill", float(seconds or 0))


_armed = parse(os.environ.get("EBBTIDE_FAILPOINT", ""))
_reached = count(1)


def triggers(name: str) -> bool:
    """Whether the failpoint `name` triggers now. Each call counts as reached."""
    return name == _armed.name and next(_reached) == _armed.nth


def reach(name: str) -> None:
    """Executes the action of the failpoint `name` if it triggers now."""
    if not triggers(name):
        return
    print(f"failpoint {name}", file=sys.stderr, flush=True)  # noqa: T201 - it may be the last output of the process
    if _armed.action == "wait":
        time.sleep(_armed.seconds)
    else:
        os.kill(os.getpid(), signal.SIGSTOP if _armed.action == "stop" else signal.SIGKILL)
