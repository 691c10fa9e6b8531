"""Delivery works with a broker that requires TLS and a password."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Tail, a_command, harbour, have_topics, wait_until
from drivers.secured_broker import PASSWORD, SecuredBroker, secured_broker

from schemas.codec import decode
from schemas.deadletters import DeadLetter
from schemas.outcomes import Outcome
from schemas.topics import COMMANDS, DEAD_LETTERS, OUTCOMES
from schemas.vocabulary import LedgerState, OutcomeKind

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]
RUN_SENDERS = (sys.executable, "-m", "cli.main", "run", "senders")


def test_delivery_admits_and_sends_commands_over_tls_and_sasl(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    with secured_broker(servers, tmp_path) as broker:
        have_topics(broker.open)
        outcomes, letters = Tail(broker.open, OUTCOMES.name), Tail(broker.open, DEAD_LETTERS.name)
        for delivery in harbour(broker.open, database_url, tmp_path):
            delivery.start_process(RUN_SENDERS, **broker.variables)
            command = a_command(delivery.publish_user(), delivery.publish_template())
            delivery.publish(COMMANDS.name, "nobody", b"no command")
            delivery.publish(COMMANDS.name, command.user_id, command)
            delivery.wait_for(command, LedgerState.ACCEPTED)
            assert len(delivery.mails(command)) == 1
            assert decode(Outcome, wait_until(outcomes.read, "an outcome")[0]).kind is OutcomeKind.ACCEPTED
            assert decode(DeadLetter, wait_until(letters.read, "a dead letter")[0]).topic == COMMANDS.name
        outcomes.close()
        letters.close()
        a_wrong_password_is_reported_in_one_line(broker)
    log = (tmp_path / "senders.log").read_text()
    assert '"senders_started"' in log
    assert PASSWORD not in log


def a_wrong_password_is_reported_in_one_line(broker: SecuredBroker) -> None:
    """Part of the same test: a broker costs seconds."""
    variables = broker.variables | {"EBBTIDE_KAFKA_SASL_PASSWORD": "wrong-4711"}
    refused = subprocess.run(RUN_SENDERS, env=os.environ | variables, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2, refused
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert "_SASL_PASSWORD" in refused.stderr
    assert "4711" not in refused.stderr
