"""How much a worker takes while another worker has what it takes.

A worker without a lease, or whose partition another worker has taken over, would otherwise take, render and sign the
same commands again and again until the ledger or Kafka says what has changed.
"""

from senders.queue.writer import Begin

REST_S = 0.5
"""How often such a worker tries one command."""
SEVERAL = 4
"""So many in a row: single commands are also ended by their user's removal, or begun by the owner before."""


class BeginRest:
    """Used in the event loop's thread only. Times in seconds are of the loop's clock."""

    def __init__(self) -> None:
        self._elsewhere = 0
        """How many begins in a row were of another worker."""
        self._until_s = 0.0

    def note(self, begin: Begin, now_s: float) -> None:
        """The last begin had this end."""
        self._elsewhere = self._elsewhere + 1 if begin is Begin.ELSEWHERE else 0
        if self._elsewhere >= SEVERAL:
            self._until_s = now_s + REST_S

    def limit(self, room: int, now_s: float) -> int:
        """How many commands to take now, where there is room for so many: all, or one after each rest."""
        if self._elsewhere < SEVERAL:
            return room
        if now_s < self._until_s:
            return 0
        self._until_s = now_s + REST_S
        return min(room, 1)
