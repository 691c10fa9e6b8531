"""The mails that wait on one lane, by kind; within a kind by priority, then by due time."""

from collections.abc import Collection
from heapq import heappop, heappush
from itertools import count

from senders.shaping.ways import ShapedMail, TrafficKind

_Entry = tuple[int, int, int, ShapedMail]
_numbers = count()


class LaneQueue:
    """Used by one lane. Mails that were removed are passed over when they come up."""

    def __init__(self) -> None:
        self._kinds: dict[TrafficKind, list[_Entry]] = {}
        self._waiting: dict[str, int] = {}
        """The number of the entry of each mail. Another number is that of a mail that was removed."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, mail: ShapedMail) -> None:
        """Adds a mail; one that waits already stays as it is."""
        if mail.id not in self._waiting:
            number = self._waiting[mail.id] = next(_numbers)
            heappush(self._kinds.setdefault(mail.kind, []), (-mail.priority, mail.due_us, number, mail))

    def remove(self, mail_id: str) -> bool:
        """Lets a mail go. Returns whether it waited here."""
        if mail_id not in self._waiting:
            return False
        del self._waiting[mail_id]
        return True

    @property
    def kinds(self) -> Collection[TrafficKind]:
        """The kinds of mails that wait here, and perhaps some of which none waits any more."""
        return self._kinds.keys()

    @property
    def rank(self) -> tuple[int, int] | None:
        """Orders queues by the mail that should begin first: the smallest goes first. None if no mail waits."""
        return min((entry[:2] for heap in self._kinds.values() for entry in heap[:1]), default=None)

    def heads(self) -> list[ShapedMail]:
        """The first mail of each kind, in the order in which they should begin."""
        found = []
        for kind in list(self._kinds):
            heap = self._kinds[kind]
            self._drop_removed(heap)
            if heap:
                found.append(heap[0])
            else:
                del self._kinds[kind]
        found.sort(key=lambda entry: entry[:3])
        return [entry[3] for entry in found]

    def mails(self) -> list[ShapedMail]:
        """All mails that wait."""
        return [entry[3] for heap in self._kinds.values() for entry in heap if self._waits(entry)]

    def _drop_removed(self, heap: list[_Entry]) -> None:
        while heap and not self._waits(heap[0]):
            heappop(heap)

    def _waits(self, entry: _Entry) -> bool:
        mail_id = entry[3].id
        return mail_id in self._waiting and self._waiting[mail_id] == entry[2]
