"""`ebbtide privacy retain` on real servers."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from drivers.command_line import ebbtide
from drivers.real_servers import RealServers
from drivers.recorded_facts import a_decision, record
from drivers.running_senders import have_topics

from infra.postgres.migrate import migrate
from schemas.vocabulary import DecisionOutcome

pytestmark = pytest.mark.servers


def test_decisions_of_a_trigger_that_does_not_run_any_more_forget_too(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    have_topics(servers.kafka)
    migrate(database_url)
    trigger = f"gone-{uuid.uuid4().hex[:12]}"
    said = {"trigger": trigger, "event_ids": ["e1"], "decided_at": datetime.now(UTC) - timedelta(days=1)}
    decision = a_decision(1, DecisionOutcome.SEND, 0).model_copy(update=said)
    file = tmp_path / "privacy.yaml"
    file.write_text('keep: {"*": 1h}\n')
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        record(connection, [decision])
        variables = {"EBBTIDE_KAFKA": servers.kafka, "EBBTIDE_DATABASE_URL": database_url}
        done = ebbtide("privacy", "retain", file, "--json", **variables)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[trigger] == 1
        [[events]] = connection.execute("SELECT event_ids FROM decisions WHERE trigger = %s", [trigger]).fetchall()
        assert events == []
