"""Reads switches from the topic `control`, so that a pause is in effect within two seconds."""

from collections.abc import Callable
from threading import Event

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.kafka.follower import TopicFollower
from schemas.codec import DecodeError, decode
from schemas.rules import Control
from schemas.switches import OlderNumber
from schemas.topics import CONTROL
from senders.policy.switches import DeliverySwitches


class ControlReader(TopicFollower):
    """Keeps DeliverySwitches current until the process halts, and calls `changed`, in its thread, after each change."""

    topic = CONTROL.name
    group = "ebbtide-delivery-control"

    def __init__(
        self,
        connection: Connection,
        switches: DeliverySwitches,
        halt: Event,
        changed: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connection, halt, beat)
        self._switches = switches
        self._changed = changed

    def take(self, record: Message) -> None:
        """Put a switch in force. One that cannot be read, or is older than the last, changes nothing."""
        try:
            is_new = self._switches.put(control := decode(Control, record.value()))
        except (DecodeError, OlderNumber) as problem:
            self.log.error("switch_ignored", offset=record.offset(), problem=str(problem))
            return
        if is_new and self._switches.known:
            self.log.info("switched", number=control.number, key=control.key, paused=control.paused)
            self._changed()

    def at_end(self) -> None:
        """From now on the switches are known."""
        if not self._switches.known:
            self._switches.known = True
            self._changed()
