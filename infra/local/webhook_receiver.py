"""A receiver of webhooks over real HTTP on this machine, for trials and tests. What it answers, its subclass says."""

import hashlib
import hmac
import json
import threading
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HOST = "127.0.0.1"


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
    """A request as it came. The names of its headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    """Seconds since the epoch."""

    @property
    def id(self) -> str:
        """By which a receiver knows a repeat; empty without one."""
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)

    def is_signed_by(self, secret: str) -> bool:
        """Whether one of its signatures is by this secret, as Standard Webhooks says."""
        key = b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers.get('webhook-timestamp', '')}.".encode() + self.body
        expected = b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256))
        given = self.headers.get("webhook-signature", "").encode().split(b" ")
        return any(hmac.compare_digest(expected, each) for each in given)


class HttpReceiver:
    """Serves at HOST while its block runs, from threads of its own. It takes a port of the system's choice for 0."""

    def __init__(self, port: int = 0) -> None:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, port), self._handler())
        self._server.daemon_threads = True
        self._stopping = threading.Event()
        self.port: int = self._server.server_address[1]

    def url(self, path: str) -> str:
        """Where requests to a path go."""
        return f"http://{HOST}:{self.port}{path}"

    def take(self, call: HttpCall) -> HttpAnswer:
        """The answer to a request. It is called from several threads at once."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="webhook-receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

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
