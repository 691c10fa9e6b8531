"""The receipt of an erasure: each place, what was done there, by when it is over, and how that was checked.

It names the person by the keyed hash alone, so that it can be kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rich.console import Console

from cli.columns import aligned


class PlaceEnd(StrEnum):
    """How it stands with one place."""

    GONE = "gone"
    """It was read, and nothing of the person is there."""
    EXPIRES = "expires"
    """It goes by itself until the time named."""
    PENDING = "pending"
    """Something is left: the erasure must run again."""


@dataclass(frozen=True, slots=True)
class PlaceReceipt:
    """One place. `by` is when it is over at the latest; None if only another run ends it."""

    place: str
    end: PlaceEnd
    done: str
    checked: str
    by: datetime | None


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """One erasure of one person or several. `known` tells whether anything of them was found."""

    people: Sequence[str]
    """The keyed hash of each user id, in hexadecimal."""
    erased_at: datetime
    """When the first of them was first erased."""
    finished_at: datetime
    known: bool
    places: Sequence[PlaceReceipt]

    @property
    def is_complete(self) -> bool:
        """Whether no place needs another run."""
        return all(each.end is not PlaceEnd.PENDING for each in self.places)

    def values(self) -> dict[str, Any]:
        """The receipt as JSON values."""
        return {
            "people": list(self.people),
            "erased_at": self.erased_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
            "known": self.known,
            "complete": self.is_complete,
            "places": [
                {
                    "place": each.place,
                    "end": each.end.value,
                    "done": each.done,
                    "checked": each.checked,
                    "by": None if each.by is None else each.by.isoformat(),
                }
                for each in self.places
            ],
        }

    def show(self, console: Console) -> None:
        """Prints the receipt as a table."""
        rows = [(each.place, each.end.value, _until(each.by), f"{each.done} ({each.checked})") for each in self.places]
        known = "" if self.known else "; nothing was known of this user"
        console.print(
            f"person {', '.join(self.people)}, erased {self.erased_at:%Y-%m-%d %H:%M:%S} UTC{known}", markup=False
        )
        for line in aligned([("place", "end", "by", "what was done, and how it was checked"), *rows]):
            console.print(line, markup=False, soft_wrap=True)
        if not self.is_complete:
            console.print("Something is left: run the same command again, with all workers running.", markup=False)


def _until(by: datetime | None) -> str:
    return "another run" if by is None else f"{by:%Y-%m-%d %H:%M} UTC"
