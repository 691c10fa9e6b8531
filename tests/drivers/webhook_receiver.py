"""A receiver of webhooks over real HTTP, which answers by script and keeps what it was sent."""

import hashlib
import hmac
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SECRET = "whsec_" + b64encode(b"a secret of the tests alone").decode()
OLD_SECRET = "whsec_" + b64encode(b"the secret before this one").decode()


@dataclass(frozen=True)
class HttpAnswer:
    """What one request gets: a status with headers and a body, after a while; with `close`, nothing at all."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    after_s: float = 0.0
    close: bool = False


@dataclass(frozen=True)
class HttpCall:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_by(self, secret: str) -> bool:
        """Whether one of its signatures is by this secret, as Standard Webhooks says."""
        key = b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return expected in self.headers["webhook-signature"].split(" ")


class WebhookReceiver:
    """Answers the requests to each path by its script, one after another; then with 200."""

    def __init__(self, port: int = 0) -> None:
        self._lock = threading.Lock()
        self._scripts: dict[str, list[HttpAnswer]] = {}
        self._calls: list[HttpCall] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._stopping = threading.Event()
        self.port: int = self._server.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def script(self, path: str, answers: Sequence[HttpAnswer]) -> None:
        """The next requests to a path get these answers."""
        with self._lock:
            self._scripts[path] = [*answers]

    def forget(self) -> None:
        """Begin anew: no call came, and no script is left."""
        with self._lock:
            self._calls, self._scripts = [], {}

    def calls(self, path: str) -> list[HttpCall]:
        with self._lock:
            return [call for call in self._calls if call.path == path]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="webhook-receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, call: HttpCall) -> HttpAnswer:
        """Keeps a request; returns its answer."""
        with self._lock:
            self._calls.append(call)
            script = self._scripts.get(call.path)
            return script.pop(0) if script else HttpAnswer()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.take(HttpCall(self.command, self.path, headers, body, time.time()))
                receiver._stopping.wait(answer.after_s)
                self.close_connection = answer.close
                if answer.close:
                    return
                self.send_response(answer.status)
                for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_PUT = do_PATCH = do_GET = _answer  # noqa: N815  # as the base class calls them

            def log_message(self, *_: object) -> None:
                """Nothing: the calls are kept."""

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True  # the sender had enough

        return Handler


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """A receiver that runs."""
    with WebhookReceiver() as receiver:
        yield receiver
