"""The secret of an endpoint is exchanged while calls go out: the receiver, which knows one at a time, refuses none."""

import itertools
import signal
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.webhook_receiver import OLD_SECRET, SECRET, HttpAnswer, HttpCall, WebhookReceiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import Pipeline, orders, pipeline

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

OLD, NEW = {"old": OLD_SECRET}, {"new": SECRET}


class VerifyingReceiver(WebhookReceiver):
    """Refuses what is not signed by the secret that it knows."""

    secret = OLD_SECRET

    def take(self, call: HttpCall) -> HttpAnswer:
        """Keeps a request; returns its answer."""
        super().take(call)
        return HttpAnswer(200 if call.is_signed_by(self.secret) else 401)

    @property
    def signatures(self) -> list[tuple[bool, bool]]:
        """By which of the two secrets, the old and the new, each request was signed."""
        return [(call.is_signed_by(OLD_SECRET), call.is_signed_by(SECRET)) for call in self.calls("/crm")]


def order_until(run: Pipeline, receiver: VerifyingReceiver, signed: tuple[bool, bool], numbers: "itertools.count[int]"):
    """Orders, one after another, until a call is signed so: delivery has the document that was published last."""

    def order() -> bool:
        number = next(numbers)
        run.publish_events(orders([f"user-{number}"], datetime.now(UTC), f"order-{number}"))
        wait_until(lambda: len(receiver.signatures) > number, "the order's call came")
        return receiver.signatures[-1] == signed

    wait_until(order, f"a call is signed by {signed}", 120)


def restart_with(run: Pipeline, secrets: dict[str, str]) -> None:
    run.harbour.end_process(signal.SIGTERM)
    run.harbour.settings["webhook_secrets"] = secrets
    run.harbour.start_process()


def test_no_call_is_refused_while_a_secret_is_exchanged(servers, database_url, tmp_path):
    settings, numbers = SETTINGS | {"webhook_secrets": OLD}, itertools.count()
    with VerifyingReceiver() as receiver, pipeline(servers.kafka, database_url, tmp_path, **settings) as run:
        run.apply(tell(receiver.url("/crm"), secrets="old"))
        run.start_streams()
        run.harbour.start_process()
        order_until(run, receiver, (True, False), numbers)
        restart_with(run, OLD | NEW)
        order_until(run, receiver, (True, False), numbers)
        run.apply(tell(receiver.url("/crm"), secrets="[new, old]"))
        order_until(run, receiver, (True, True), numbers)
        receiver.secret = SECRET
        order_until(run, receiver, (True, True), numbers)
        run.apply(tell(receiver.url("/crm"), secrets="new"))
        order_until(run, receiver, (False, True), numbers)
        restart_with(run, NEW)
        order_until(run, receiver, (False, True), numbers)
        run.wait_drained()

        count = len(receiver.signatures)
        assert run.states() == {"accepted": count}
        assert run.harbour.rows("SELECT DISTINCT attempt FROM ledger") == [(1,)]
        log = (run.directory / "senders.log").read_text()
        assert not any(secret.removeprefix("whsec_") in log for secret in (SECRET, OLD_SECRET))
