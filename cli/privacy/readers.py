"""Waits until readers have passed what their topics held, so that nothing of a person is on its way any more."""

import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from infra.kafka.progress import Progress
from schemas.codec import partition_for

POLL_S = 0.3


class Passage(NamedTuple):
    """A group that must pass the end of a partition as it was."""

    group: str
    topic: str
    partition: int
    end: int


def passages(progress: Progress, groups: Iterable[tuple[str, str]], ids: Collection[str]) -> list[Passage]:
    """What each (group, topic) must pass, in the partitions where these ids belong."""
    found = []
    for group, topic in groups:
        ends = progress.ends(topic).high
        own = {partition_for(each.encode(), len(ends)) for each in ids} if ends else set()
        found += [Passage(group, topic, p, ends[p]) for p in sorted(own)]
    return found


def wait_until_passed(progress: Progress, left: Collection[Passage], until_s: float) -> list[Passage]:
    """Waits; returns those that are not passed at `until_s`."""
    waiting = list(left)
    while waiting := [each for each in waiting if not _is_passed(progress, each)]:
        if time.monotonic() >= until_s:
            break
        time.sleep(POLL_S)
    return waiting


def _is_passed(progress: Progress, wanted: Passage) -> bool:
    behind = progress.lags(wanted.group, [wanted.topic])[wanted.topic, wanted.partition]
    return behind == 0 or progress.ends(wanted.topic).high[wanted.partition] - behind >= wanted.end
