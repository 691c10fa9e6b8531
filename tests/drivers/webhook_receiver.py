"""A receiver of webhooks over real HTTP, which answers by script and keeps what it was sent."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from infra.local.webhook_receiver import HttpAnswer, HttpCall, HttpReceiver

SECRET = "whsec_" + b64encode(b"a secret of the tests alone").decode()
OLD_SECRET = "whsec_" + b64encode(b"the secret before this one").decode()


class WebhookReceiver(HttpReceiver):
    """Answers the requests to each path by its script, one after another; then with 200."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._scripts: dict[str, list[HttpAnswer]] = {}
        self._calls: list[HttpCall] = []

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

    def take(self, call: HttpCall) -> HttpAnswer:
        """Keeps a request; returns its answer."""
        with self._lock:
            self._calls.append(call)
            script = self._scripts.get(call.path)
            return script.pop(0) if script else HttpAnswer()


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """A receiver that runs."""
    with WebhookReceiver() as receiver:
        yield receiver


__all__ = ["OLD_SECRET", "SECRET", "HttpAnswer", "HttpCall", "WebhookReceiver", "webhook_receiver"]
