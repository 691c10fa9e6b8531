"""The calls that ingest is measured with: 462 bytes each, of 10,000 users, as a stock SDK sends them."""

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from perf.http_load import HttpLoad, posts
from senders.content.links import LinkKeys, LinkKind, link_id

USERS = 10_000
TARGETS = 50
LINK_KEY = "the key of the links in this bench"
_BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36\r\n"
    "Accept: text/html\r\nAccept-Language: de\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n"
)
BATCH = 100
BODIES = 500
"""Different bodies of single calls; of batches, a hundredth."""


class SdkCalls(NamedTuple):
    """Calls to one path, each with so many items."""

    path: str
    bodies: Sequence[bytes]
    items: int = 1


def calls(now: datetime) -> dict[str, SdkCalls]:
    """The calls by name. The clock of their senders is right: a wrong one is corrected, which costs more."""
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "single": SdkCalls("/v1/track", [orjson.dumps(_track(number, time)) for number in range(BODIES)]),
        "batch": SdkCalls("/v1/batch", [_batch(number, time) for number in range(BODIES // BATCH * 4)], BATCH),
        "identify": SdkCalls(
            "/v1/identify", [orjson.dumps(_identify(number * 17 % USERS, time)) for number in range(BODIES)]
        ),
    }


def loads(secret: str, now: datetime) -> dict[str, HttpLoad]:
    """The loads by name: these calls, with a key, and clicks on links."""
    key = base64.b64encode(f"{secret}:".encode()).decode()
    found = {name: HttpLoad(name, posts(each.path, each.bodies, key), each.items) for name, each in calls(now).items()}
    return found | {"click": HttpLoad("click", list(_clicks()))}


def targets() -> dict[bytes, str]:
    """Where the links lead on which is clicked, by their ids."""
    urls = (f"https://shop.example/products/{number}?campaign=autumn" for number in range(TARGETS))
    return {link_id(url): url for url in urls}


def _clicks() -> Iterator[str]:
    keys, links = LinkKeys([LINK_KEY]), list(targets())
    for number in range(BODIES):
        token = keys.token(LinkKind.CLICK, f"{number:032x}", links[number % TARGETS])
        yield f"GET /c/{token} HTTP/1.1\r\nHost: mail.shop.example\r\n{_BROWSER}\r\n"


def _track(number: int, time: str) -> dict[str, Any]:
    return {
        "messageId": f"node-next-1764410400123-{number:08d}-5f6e-4b7c-9a8d",
        "userId": f"customer-{number * 7919 % USERS:06d}",
        "anonymousId": None,
        "event": "Product Viewed",
        "properties": {"product_id": f"sku-{number % 997:05d}", "price": 19.9, "currency": "EUR", "category": "shoes"},
        "context": {"library": {"name": "@segment/analytics-node", "version": "3.1.0"}, "ip": "203.0.113.7"},
        "timestamp": time,
        "_metadata": {"nodeVersion": "22.3.0", "jsRuntime": "node"},
        "integrations": {},
    }


def _batch(number: int, time: str) -> bytes:
    def items() -> Iterator[dict[str, Any]]:
        for place in range(BATCH):
            yield {"type": "track", **_track(number * BATCH + place, time)}

    return orjson.dumps({"batch": list(items()), "sentAt": time})


def _identify(number: int, time: str) -> dict[str, Any]:
    traits = {"plan": "pro", "seats": number % 50, "city": "Hamburg"}
    return {
        "messageId": f"m-{number}",
        "userId": f"customer-{number:06d}",
        "traits": traits,
        "timestamp": time,
    }
