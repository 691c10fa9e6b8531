"""The SDKs that services and pages already have, unmodified: each makes a list of calls and reports what came of it."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from drivers.chromium import chromium
from drivers.npm_packages import npm_package
from drivers.serving import serving
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient

PROGRAMS = Path(__file__).with_name("programs")
ANALYTICS_NODE = "3.1.0"
ANALYTICS_NEXT = "1.84.3"
BROWSER_PROGRAM = "const done = arguments[3]; makeCalls(...arguments).then(done, error => done(String(error)))"
SLOW_S = 180

Call = tuple[str, Mapping[str, Any]]
"""The method's name and its fields, in Segment's spelling: `userId`, `event`, `messageId`."""


@dataclass
class SdkReport:
    """The `messageId`s of the calls that an SDK says it delivered, and of those that it gave up."""

    delivered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    anonymous: str = ""
    """In a browser: the id that the SDK made for the visitor."""


def segment_python(host: str, key: str, calls: Sequence[Call], every_s: float = 0, **settings: Any) -> SdkReport:
    """segment-analytics-python."""
    return _python(SegmentClient, host, key, calls, every_s, settings)


def rudder_python(host: str, key: str, calls: Sequence[Call], every_s: float = 0, **settings: Any) -> SdkReport:
    """rudder-sdk-python."""
    return _python(RudderClient, host, key, calls, every_s, settings)


def segment_node(host: str, key: str, calls: Sequence[Call], every_s: float = 0, **settings: Any) -> SdkReport:
    """@segment/analytics-node."""
    given = {
        "modules": str(npm_package("@segment/analytics-node", ANALYTICS_NODE)),
        "key": key,
        "host": host,
        "calls": [[name, fields] for name, fields in calls],
        "every_ms": round(every_s * 1000),
        "settings": settings,
    }
    program = ["node", str(PROGRAMS / "segment_calls.js")]
    done = subprocess.run(program, input=json.dumps(given), capture_output=True, encoding="utf-8", timeout=SLOW_S)
    assert done.returncode == 0, done.stderr
    return SdkReport(**json.loads(done.stdout))


class _Page(SimpleHTTPRequestHandler):
    """Serves the SDK's bundle, and beside it a page that loads it."""

    def translate_path(self, path: str) -> str:
        return str(PROGRAMS / "browser_calls.html") if path == "/" else super().translate_path(path)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def segment_page() -> Iterator[str]:
    """The origin of a site whose pages have @segment/analytics-next, as its bundle is published."""
    place = npm_package("@segment/analytics-next", ANALYTICS_NEXT)
    bundle = place / "node_modules/@segment/analytics-next/dist/umd"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page, directory=str(bundle)))
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def segment_browser(page: str, host: str, key: str, calls: Sequence[Sequence[Any]]) -> SdkReport:
    """@segment/analytics-next in Chromium, on a page of `segment_page`. Each call is a method's name and what it gets.

    The page names ingest as the place of the SDK's settings, and nothing else.
    """
    with chromium().started() as browser:
        browser.set_script_timeout(SLOW_S)
        browser.get(page)
        program = (
            "const [key, host, calls, done] = arguments; makeCalls(key, host, calls).then(done, e => done(String(e)))"
        )
        report = browser.execute_async_script(program, key, host, calls)
    assert isinstance(report, dict), report
    return SdkReport(**report)


def _python(
    kind: Callable[..., Any], host: str, key: str, calls: Sequence[Call], every_s: float, settings: Mapping[str, Any]
) -> SdkReport:
    report = SdkReport()

    def on_error(_: Exception, batch: Sequence[Mapping[str, Any]]) -> None:
        report.failed.extend(each["messageId"] for each in batch)

    client = kind(key, host=host, on_error=on_error, **settings)
    for name, fields in calls:
        taken, _ = getattr(client, name)(**{_snake(field): value for field, value in fields.items()})
        assert taken, "the SDK's queue is full"
        time.sleep(every_s)
    client.shutdown()
    report.delivered = [f["messageId"] for _, f in calls if f["messageId"] not in report.failed]
    return report


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
