"""Endpoints as a person publishes, lists and lifts them, on a real Kafka and PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from drivers import command_line
from drivers.command_line import Done
from drivers.whole_pipeline import new_topics

from cli.manifests.publication import current_manifest
from senders.queue.suspensions import url_hash

pytestmark = pytest.mark.servers

URL = "https://crm.example/hooks"
RULES = f"""trigger: tell-crm
purpose: sales
on: order_completed
send: {{webhook: crm}}
---
endpoint: crm
url: {URL}
secrets: crm-signing
headers: {{Authorization: {{secret: crm-token}}}}
"""
SUSPENDED = """INSERT INTO webhook_suspensions (endpoint, url_hash, reason, times, since, until)
    VALUES ('crm', %s, 'http_status 500', 3, now(), now() + interval '1 hour')"""


@pytest.fixture
def ebbtide(servers, database_url, monkeypatch, topic_prefix) -> Iterator[Callable[..., Done]]:
    """The command line, on topics without any rule."""
    monkeypatch.setenv("EBBTIDE_STREAMS_GROUP", f"{topic_prefix}streams")
    new_topics(servers.kafka)

    def run(*arguments: object, **variables: str) -> Done:
        own = {"EBBTIDE_KAFKA": servers.kafka, "EBBTIDE_DATABASE_URL": database_url, "LOGNAME": "ada"}
        own |= {"EBBTIDE_LEDGER_URL": database_url, "EBBTIDE_SUPPRESSION_KEY": "a secret of the tests"}
        return command_line.ebbtide(*arguments, **own, **variables)

    yield run
    new_topics(servers.kafka)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crm.yaml").write_text(RULES)
    return tmp_path


def test_apply_refuses_an_endpoint_whose_secret_delivery_does_not_have(ebbtide, folder, servers):
    lacking = ebbtide("apply", folder, EBBTIDE_WEBHOOK_SECRETS='{"crm-signing": "whsec_secret"}')
    assert lacking.returncode == 2
    assert "endpoint crm: the secret crm-token is not in EBBTIDE_WEBHOOK_SECRETS" in lacking.stderr
    assert "whsec_" not in lacking.stdout + lacking.stderr
    assert current_manifest(servers.kafka) is None
    wrong = ebbtide("apply", folder, EBBTIDE_WEBHOOK_SECRETS="whsec_secret")
    assert wrong.returncode == 2
    assert "not a JSON object" in wrong.stderr
    assert "whsec_secret" not in wrong.stderr


def test_where_no_secret_is_known_apply_warns_and_publishes(ebbtide, folder, servers):
    applied = ebbtide("apply", folder)
    assert applied.returncode == 0, applied.stderr
    assert "crm.yaml:8:10: warning: the settings here have no secret `crm-signing`" in applied.stdout
    manifest = current_manifest(servers.kafka)
    assert manifest is not None
    assert [(each.name, each.url, each.secrets) for each in manifest.endpoints] == [("crm", URL, ("crm-signing",))]


def test_a_suspension_is_listed_and_lifted_with_a_line_in_the_audit(ebbtide, folder, database_url):
    known = '{"crm-signing": "whsec_secret", "crm-token": "x"}'
    assert ebbtide("apply", folder, EBBTIDE_WEBHOOK_SECRETS=known).returncode == 0
    assert ebbtide("endpoints", "list", EBBTIDE_WEBHOOK_SECRETS=known).stdout == "crm at crm.example\n"
    assert ebbtide("endpoints", "lift", "crm").returncode == 1
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SUSPENDED.encode(), [url_hash(URL)])
        listed = ebbtide("endpoints", "list").stdout
        assert "because of http_status 500; `ebbtide endpoints lift crm` ends that" in listed
        found = json.loads(ebbtide("endpoints", "list", "--json").stdout)
        assert (found["endpoint"], found["host"], found["suspended"]["times"]) == ("crm", "crm.example", 3)

        lifted = ebbtide("endpoints", "lift", "crm", "--reason", "they are back", "--by", "ada")
        assert (lifted.returncode, lifted.stdout) == (0, "lifted: crm gets webhooks again\n"), lifted.stderr
        assert connection.execute("SELECT count(*) FROM webhook_suspensions").fetchall() == [(0,)]
        audited = "SELECT entry::json FROM audit_log WHERE entry LIKE '%endpoints lift%'"
        [(entry,)] = connection.execute(audited).fetchall()
        assert (entry["who"], entry["subject"], entry["after"]) == ("ada", "endpoint crm", {"reason": "they are back"})


def test_a_suspension_of_another_url_is_none_and_missing_secrets_are_listed(ebbtide, folder, database_url):
    assert ebbtide("apply", folder).returncode == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SUSPENDED.encode(), [url_hash("https://elsewhere.example/")])
    some = '{"crm-signing": "whsec_secret"}'
    lacking = "crm at crm.example\n  no secret crm-token in EBBTIDE_WEBHOOK_SECRETS here\n"
    assert ebbtide("endpoints", "list", EBBTIDE_WEBHOOK_SECRETS=some).stdout == lacking
    assert json.loads(ebbtide("endpoints", "list", "--json").stdout) == {
        "endpoint": "crm",
        "host": "crm.example",
        "suspended": None,
        "missing_secrets": ["crm-signing", "crm-token"],
    }
