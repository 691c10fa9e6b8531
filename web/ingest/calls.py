"""Reads a call, whatever it speaks: this is what the handler asks.

    call = call_at(path)                                    # paths; None: not a path of ingest
    body = inflated(body, headers.get("content-encoding", ""), limit)   # inflation; bytes | CallProblem
    secret = written_key(headers, query, body)              # credentials; None: no key
    reading = read(call, headers, body, key, rules, received_us)        # here; Reading | CallProblem

A `CallProblem` has a status and means that nothing of the call can be read. Otherwise each item is in one of the lists
of the `Reading`, or in `refused`, or says nothing that is to be kept. One call may be in two: a browser's `identify`
links its visitor, and its traits are refused. Nothing is raised, whatever the call holds.
"""

from collections.abc import Mapping

from web.ingest.cloud_events import read_cloud_events
from web.ingest.paths import CallKind
from web.ingest.reading import CallProblem, Reading
from web.ingest.rules import ReadingRules
from web.ingest.segment import read_segment
from web.keys.write_key import WriteKey


def read(
    call: CallKind, headers: Mapping[str, str], body: bytes, key: WriteKey, rules: ReadingRules, received_us: int
) -> Reading | CallProblem:
    """What one call holds. The same call gives the same reading, but for the ids that `rules` makes."""
    if call is CallKind.CLOUD_EVENTS:
        return read_cloud_events(headers, body, key, rules, received_us)
    return read_segment(call, body, key, rules, received_us)
