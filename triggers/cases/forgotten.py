"""Notes on what a rule forgot because of a bound on memory. Each names the bound."""

from collections.abc import Mapping

from schemas.wording import counted
from triggers.engine.entries import MAX_KEYS, MAX_RUNNING
from triggers.engine.kept_events import MAX_GATHERED_BYTES, MAX_REMEMBERED_BYTES
from triggers.engine.levels import MAX_GROUPS
from triggers.engine.sending import MAX_COMMAND_IDS, MAX_GOALS
from triggers.engine.sequences import MAX_LAST, MAX_LINKS
from triggers.engine.unless_events import MAX_UNLESS_EVENTS
from triggers.measures.decay import MAX_PARTS
from triggers.measures.windows import EXACT, MAX_VALUES
from triggers.rules.state import MAX_GATHERED

_KEPT = {
    "additions": f"{MAX_PARTS:,}",
    "command ids": f"{MAX_COMMAND_IDS:,}",
    "different values": f"{MAX_VALUES:,}",
    "gathered events": f"{MAX_GATHERED:,} (or {MAX_GATHERED_BYTES // 1000} kB in all)",
    "goals": f"{MAX_GOALS:,}",
    "groups": f"{MAX_GROUPS:,}",
    "keys": f"{MAX_KEYS:,}",
    "remembered events": f"{MAX_REMEMBERED_BYTES // 1000} kB in all",
    "running occurrences": f"{MAX_RUNNING:,}",
    "sequence events": f"{MAX_LINKS:,} (or {MAX_LAST:,} that may end the sequence)",
    "single events": f"{EXACT:,}",
    "unless events": f"{MAX_UNLESS_EVENTS:,}",
}
"""The bounds, by the names in `Effects.bounds`."""


def forgotten_notes(forgotten: Mapping[tuple[str, str], int]) -> list[str]:
    """A note for each rule and each bound, from counts as in `Effects.bounds`."""
    return [
        f"{rule}: forgot {what} {counted(times, 'time')}, because a user had more than the {_KEPT[what]} that are kept"
        for (rule, what), times in sorted(forgotten.items())
    ]
