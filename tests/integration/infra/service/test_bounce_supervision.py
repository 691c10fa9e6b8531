"""`ebbtide run bounces --workers N`: it listens, is started again where it is killed, shows its pages, and stops."""

import os
import signal
import smtplib
from pathlib import Path

import pytest
from drivers.bounce_listener import DOMAIN, KEYS
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.supervised_workers import SupervisedWorkers
from drivers.whole_pipeline import new_topics

pytestmark = pytest.mark.servers


def test_listeners_share_a_port_come_back_and_stop(servers: RealServers, database_url: str, tmp_path: Path) -> None:
    new_topics(servers.kafka)
    port, pages = free_port(), servers.ports.bounces_web
    keys = "[" + ",".join(f'"{key.get_secret_value()}"' for key in KEYS) + "]"
    variables = {
        "EBBTIDE_KAFKA": servers.kafka,
        "EBBTIDE_DATABASE_URL": database_url,
        "EBBTIDE_BOUNCE_DOMAIN": DOMAIN,
        "EBBTIDE_BOUNCE_KEYS": keys,
        "EBBTIDE_BOUNCES_PORT": str(port),
        "EBBTIDE_BOUNCES_WEB_PORT": str(pages),
        "EBBTIDE_BOUNCES_DIR": str(tmp_path),
    }
    with SupervisedWorkers("bounces", pages, tmp_path / "log", variables) as listeners:
        before = listeners.two_ready()
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("", [f"ann@{DOMAIN}"], b"Subject: hello\r\n\r\nhello\r\n")
        found = listeners.get(0, "/metrics"), listeners.get(1, "/metrics")
        assert any('ebbtide_bounces_refused_total{reason="recipient"} 1.0' in (page or (0, ""))[1] for page in found)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: (state := listeners.ready(0)) is not None and state["pid"] != before[0], "slot 0 again", 60)
        status, took_s = listeners.stop()
        assert (status, took_s < 15) == (0, True), listeners.tail()


def test_without_a_key_it_does_not_start(servers: RealServers, tmp_path: Path) -> None:
    variables = {"EBBTIDE_KAFKA": servers.kafka, "EBBTIDE_BOUNCE_DOMAIN": DOMAIN, "EBBTIDE_BOUNCES_DIR": str(tmp_path)}
    listeners = SupervisedWorkers("bounces", servers.ports.bounces_web, tmp_path / "log", variables)
    refused = listeners.program("run", "bounces")
    assert refused.returncode == 2
    assert "bounce_keys" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr
