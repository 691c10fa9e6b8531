"""Places at which a test ends the process on purpose: EBBTIDE_FAILPOINT=NAME, or NAME:N for the Nth time it is reached.

Random kills hit the narrow places of a transaction rarely; these hit them always. Unset, each costs one comparison.
"""

import os
import signal
import sys
from itertools import count

NAMES = frozenset(
    {"after_produce", "after_send_offsets", "before_commit", "after_commit", "in_recovery", "abort_before_commit"}
)
"""`abort_before_commit` does not kill: the committer meets an abortable error there, as a coordinator may send one."""


class UnknownFailpoint(ValueError):
    """EBBTIDE_FAILPOINT names no failpoint."""


def parse(text: str) -> tuple[str, int]:
    """The failpoint's name and the time at which it strikes; ("", 0) where none is set."""
    if not text:
        return "", 0
    name, _, nth = text.partition(":")
    if name not in NAMES or not (nth or "1").isdecimal():
        raise UnknownFailpoint(f"EBBTIDE_FAILPOINT={text}: not NAME or NAME:N with one of {', '.join(sorted(NAMES))}")
    return name, int(nth or 1)


_armed, _nth = parse(os.environ.get("EBBTIDE_FAILPOINT", ""))
_reached = count(1)


def strikes(name: str) -> bool:
    """Whether the failpoint `name` strikes now."""
    return name == _armed and next(_reached) == _nth


def reach(name: str) -> None:
    """Kills the process, as `kill -9` does, where the failpoint `name` strikes now."""
    if strikes(name):
        print(f"failpoint {name}", file=sys.stderr, flush=True)  # noqa: T201 - the last word of the process
        os.kill(os.getpid(), signal.SIGKILL)
