"""Places at which a test meddles with the process on purpose: EBBTIDE_FAILPOINT=NAME, NAME:N for the Nth time it is
reached, NAME:N:ACTION for something else than death.

Random kills hit the narrow places of a transaction rarely; these hit them always. Unset, each costs one comparison.
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
"""`abort_before_commit` does not kill: the committer meets an abortable error there, as a coordinator may send one."""


class UnknownFailpoint(ValueError):
    """EBBTIDE_FAILPOINT names no failpoint, or nothing that it can do."""


class Failpoint(NamedTuple):
    """Where and when it strikes, and what it does: `kill`, `stop` (SIGSTOP: the test wakes it), or `wait` some
    seconds in this thread while the others go on."""

    name: str = ""
    nth: int = 1
    action: str = "kill"
    seconds: float = 0.0


def parse(text: str) -> Failpoint:
    """What the variable asks for; one without a name where it is empty."""
    if not text:
        return Failpoint()
    name, nth, action, *_ = [*text.split(":"), "", ""]
    action, _, seconds = action.partition("=")
    known = action in {"", "kill", "stop"} or (action == "wait" and seconds.isdecimal())
    if name not in NAMES or not (nth or "1").isdecimal() or not known:
        raise UnknownFailpoint(
            f"EBBTIDE_FAILPOINT={text}: not NAME, NAME:N or NAME:N:ACTION with one of {', '.join(sorted(NAMES))} "
            "and an action of kill, stop, wait=SECONDS"
        )
    return Failpoint(name, int(nth or 1), action or "kill", float(seconds or 0))


_armed = parse(os.environ.get("EBBTIDE_FAILPOINT", ""))
_reached = count(1)


def strikes(name: str) -> bool:
    """Whether the failpoint `name` strikes now."""
    return name == _armed.name and next(_reached) == _armed.nth


def reach(name: str) -> None:
    """Does to the process what the failpoint `name` is armed with, where it strikes now."""
    if not strikes(name):
        return
    print(f"failpoint {name}", file=sys.stderr, flush=True)  # noqa: T201 - it may be the last word of the process
    if _armed.action == "wait":
        time.sleep(_armed.seconds)
    else:
        os.kill(os.getpid(), signal.SIGSTOP if _armed.action == "stop" else signal.SIGKILL)
