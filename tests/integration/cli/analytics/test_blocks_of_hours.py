"""Which part of the rollup by hour a question by hour reads."""

import json

import psycopg
import pytest
from psycopg import ClientCursor

from cli.analytics.questions import named

pytestmark = pytest.mark.servers

_HOURS = """
INSERT INTO rollup_mails_hour
SELECT hour, 'trigger-' || number, '', '', 'news', '', 'gmail', 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 4, 5, 1, 2, 1, 1, 0
FROM generate_series('2026-03-01Z'::timestamptz, '2026-05-29 23:00Z', '1 hour') AS hour,
     generate_series(1, 50) AS number
ORDER BY hour::date, md5(hour::text || number)"""


def test_a_question_by_hour_reads_the_days_it_is_about(database_url: str) -> None:
    question = named("best-hour")
    values = {"since": "2026-05-16", "until": "2026-05-30", "trigger": "%", **question.values({})}
    with psycopg.connect(database_url, autocommit=True, cursor_factory=ClientCursor) as connection:
        connection.execute(_HOURS)
        connection.execute("VACUUM ANALYZE rollup_mails_hour")
        [[[plan]]] = connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question.statement}".encode(), values
        )
        [[blocks]] = connection.execute("SELECT relpages FROM pg_class WHERE relname = 'rollup_mails_hour'")
        connection.execute("TRUNCATE rollup_mails_hour")
    read = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert "rollup_mails_hour_sent" in json.dumps(plan), "by the key, each row has a place of its own"
    assert read < blocks / 3, "14 of 90 days"
