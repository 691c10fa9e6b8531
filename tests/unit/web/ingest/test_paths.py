"""The paths of ingest."""

import pytest

from web.ingest.paths import CallKind, call_at


@pytest.mark.parametrize(
    ("path", "call"),
    [
        *((f"/v1/{call}", call) for call in CallKind if call is not CallKind.CLOUD_EVENTS),
        *zip(("/v1/t", "/v1/i", "/v1/p", "/v1/s", "/v1/g", "/v1/a", "/v1/b"), CallKind, strict=False),
        ("/v1/import", CallKind.BATCH),
        ("/beacon/v1/batch", CallKind.BATCH),
        ("/v1/events", CallKind.CLOUD_EVENTS),
        ("/v1/track/", CallKind.TRACK),
        ("/v1/batch//", CallKind.BATCH),
    ],
)
def test_each_path_is_its_call_with_or_without_a_closing_slash(path: str, call: CallKind) -> None:
    assert call_at(path) is call


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/v1/trac", "/V1/track", "/v1/track/x", "/v1/c", "//v1/track"]
)
def test_any_other_path_is_none_of_ingest(path: str) -> None:
    assert call_at(path) is None
