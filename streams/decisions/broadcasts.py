"""Events without a user, from one record of `broadcasts` to the users of its partition who wait.

A record without names meets nobody: for those who wait the event is written to the same partition again, each time with
the names of SLICE users. So the records between are applied between, what is done is known by the committed offset, and
two events meet every user in the order in which they stand in the log.
"""

from collections.abc import Iterator

from schemas.broadcasts import Broadcast, broadcast_of
from schemas.codec import DecodeError, decode, encode
from schemas.topics import BROADCASTS
from streams.decisions.evaluate import Decider
from streams.decisions.update import InputRecord, Update
from streams.decisions.waiting import EncodedStates, WaitingUsers
from streams.runtime.checkpoint import Output
from triggers.rules.events import StoredEvent, stored_event

SLICE = 100
"""The most users whom one record meets: some 5 ms."""
INDEXED_AT_ONCE = 2_000
"""How many users are indexed before a batch, while the index is made: some 10 ms."""


class BroadcastReader:
    """Applies the broadcasts of one partition, whose users have these `states`, under one rule set."""

    def __init__(self, decider: Decider, states: EncodedStates) -> None:
        self._decider = decider
        self._states = states
        self.waiting = WaitingUsers(decider.evaluator.rules, states)

    def updates(self, record: InputRecord, now_ms: int) -> Iterator[Update]:
        """The updates that the record brings, one user after the other. Each must be stored before the next."""
        decider = self._decider
        try:
            broadcast = decode(Broadcast, record.value)
        except DecodeError as error:
            yield Update(outgoing=[decider.dead_letter(record, error.cause, error.detail, now_ms)])
            return
        event, alone = stored_event(broadcast), record._replace(value=encode(broadcast_of(broadcast)))
        if broadcast.users is None:
            yield Update(outgoing=self._named(broadcast, event, record.partition))
            return
        reported = set[str]()
        for user in map(str.encode, broadcast.users):
            raw = self._states.get(user)
            if raw is not None:
                yield decider.meet(alone._replace(key=user), raw, event, now_ms, reported)

    def _named(self, broadcast: Broadcast, event: StoredEvent, partition: int) -> list[Output]:
        """The records that name the users who wait for it."""
        if event.type not in self._decider.evaluator.rules.waiting:
            return []
        found = [user.decode() for user in self.waiting.find(event)]
        slices = [found[begin : begin + SLICE] for begin in range(0, len(found), SLICE)]
        return [Output(BROADCASTS.name, None, encode(broadcast_of(broadcast, users)), partition) for users in slices]
