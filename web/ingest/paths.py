"""The paths of ingest: Segment's HTTP Tracking API, its short forms in browsers, RudderStack's beacon, CloudEvents.

A closing slash changes nothing. No path is redirected: SDKs count a redirect as delivered, or turn the POST into a GET.
"""

from enum import StrEnum


class CallKind(StrEnum):
    """What a path or an item of a batch is. The values are Segment's names, and one more."""

    TRACK = "track"
    IDENTIFY = "identify"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    ALIAS = "alias"
    BATCH = "batch"
    CLOUD_EVENTS = "cloudevents"


_CALLS = {
    **{f"/v1/{call}": call for call in CallKind if call is not CallKind.CLOUD_EVENTS},
    **{f"/v1/{call[0]}": call for call in CallKind if call is not CallKind.CLOUD_EVENTS},
    "/v1/import": CallKind.BATCH,
    "/beacon/v1/batch": CallKind.BATCH,
    "/v1/events": CallKind.CLOUD_EVENTS,
}


def call_at(path: str) -> CallKind | None:
    """The call that is posted to a path; None if ingest has no such path."""
    return _CALLS.get(path) or _CALLS.get(path.rstrip("/"))
