"""Rules name endpoints in the private network: nothing is connected to, until the settings allow the host by name."""

import signal
import socket
from datetime import UTC, datetime

import pytest
from drivers.running_senders import wait_until
from drivers.webhook_receiver import webhook_receiver
from drivers.webhook_rules import SETTINGS, tell
from drivers.whole_pipeline import orders, pipeline

from schemas.vocabulary import OutcomeKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

HOSTS = {"loopback": "127.0.0.1", "named": "localhost", "mapped": "[::ffff:127.0.0.1]", "other": "127.0.0.2"}
METADATA = "https://169.254.169.254/latest/meta-data"


def nobody_connected(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()
    except BlockingIOError:
        return True
    return False


def test_private_addresses_get_no_connection_unless_the_settings_name_the_host(servers, database_url, tmp_path):
    settings = SETTINGS | {"webhook_private_hosts": [], "allow_real_mail": True}
    with (
        socket.create_server(("", 0)) as private,
        webhook_receiver() as receiver,
        pipeline(servers.kafka, database_url, tmp_path, **settings) as run,
    ):
        port = private.getsockname()[1]
        urls = {name: f"https://{host}:{port}/" for name, host in HOSTS.items()}
        urls |= {"metadata": METADATA, "plain": receiver.url("/crm")}
        run.apply(*(tell(url, name, retries=0) for name, url in urls.items()))
        run.publish_events(orders(["user-1"], datetime.now(UTC), "first"))
        run.start_streams()
        run.harbour.start_process()
        wait_until(lambda: run.states() == {"failed": len(urls)}, "all calls failed", 120)
        assert run.harbour.rows("SELECT DISTINCT reason, detail FROM ledger") == [
            ("retries_used", "destination_refused")
        ]
        assert nobody_connected(private)
        assert receiver.calls("/crm") == []

        run.harbour.end_process(signal.SIGTERM)
        run.harbour.settings["webhook_private_hosts"] = ["127.0.0.1"]
        run.harbour.start_process()
        run.apply(tell(urls["plain"], "plain", retries=0))
        run.publish_events(orders(["user-2"], datetime.now(UTC), "second"))
        wait_until(lambda: run.states() == {"failed": len(urls), "accepted": 1}, "the named host is called", 120)
        run.wait_drained()
        assert len(receiver.calls("/crm")) == 1
        kinds = {each.kind for each in run.books().outcomes if each.user_id == "user-1"}
        assert kinds == {OutcomeKind.FAILED}
