"""The documents that SDKs in browsers ask for before they send anything. They name no destination but this ingest."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from web.http import Answer, Request
from web.ingest import answers
from web.ingest.openapi import openapi
from web.keys.write_key import KeyClass, WriteKey

Find = Callable[[str], WriteKey | None]
_PROJECT, _SETTINGS = "/v1/projects/", "/settings"
_SOURCE_CONFIG = "/sourceConfig"
_OPENAPI = "/v1/openapi.json"


def document_at(request: Request, find: Find, public_url: str | None) -> Answer | None:
    """The answer if the path is one of a document; None if it is not.

    `public_url` is the origin under which browsers reach this ingest; without it pages say so themselves.
    """
    path = request.path
    if path == _OPENAPI:
        return _read(request, lambda: answers.document(openapi()))
    if path.startswith(_PROJECT) and path.endswith(_SETTINGS):
        secret = path[len(_PROJECT) : -len(_SETTINGS)]
        return _read(request, lambda: _for_browser(secret, find, lambda _: _segment_settings(secret, public_url)))
    if path.rstrip("/") == _SOURCE_CONFIG:
        secret = _query_key(request.query)
        return _read(request, lambda: _for_browser(secret, find, lambda key: _source_config(secret, key)))
    return None


def _read(request: Request, answer: Callable[[], Answer]) -> Answer:
    if request.method == "OPTIONS":
        return answers.PREFLIGHT
    return answer() if request.method in ("GET", "HEAD") else answers.other_method("GET, HEAD, OPTIONS")


def _for_browser(secret: str, find: Find, made: Callable[[WriteKey], dict[str, Any]]) -> Answer:
    """The document of a browser key. A server key is none of a page's: whoever shows it there has lost it."""
    key = find(secret)
    return answers.no_key() if key is None or key.key_class is not KeyClass.BROWSER else answers.document(made(key))


def _query_key(query: str) -> str:
    try:
        return parse_qs(query, max_num_fields=20).get("writeKey", [""])[0]
    except ValueError:  # too many fields
        return ""


def _segment_settings(secret: str, public_url: str | None) -> dict[str, Any]:
    """What Segment's analytics.js reads of `cdn.segment.com/v1/projects/KEY/settings`."""
    here = {}
    if public_url is not None:
        parts = urlsplit(public_url)
        here = {"apiHost": f"{parts.netloc}/v1", "protocol": parts.scheme}
    sends = {"apiKey": secret, "unbundledIntegrations": [], "addBundledMetadata": False, **here}
    enabled = {"__default": {"enabled": True, "integrations": {}}}
    return {
        "integrations": {"Segment.io": sends},
        "plan": {"track": enabled, "identify": enabled, "group": enabled},
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def _source_config(secret: str, key: WriteKey) -> dict[str, Any]:
    """What RudderStack's SDKs read of `api.rudderstack.com/sourceConfig`."""
    off = {"enabled": False}
    return {
        "source": {
            "id": key.id,
            "name": key.source,
            "writeKey": secret,
            "enabled": True,
            "workspaceId": "ebbtide",
            "config": {"statsCollection": {"errors": off, "metrics": off}},
            "connections": [],
            "destinations": [],
            "dataplanes": {},
        },
        "consentManagementMetadata": {},
    }
