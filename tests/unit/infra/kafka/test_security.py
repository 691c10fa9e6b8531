"""TLS and SASL settings: what they become for a client, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.kafka.security import KafkaSecuritySettings
from streams.settings import StreamSettings

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KafkaSecuritySettings.model_fields:
        monkeypatch.delenv(f"EBBTIDE_{name.upper()}", raising=False)


def test_nothing_set_is_a_plain_connection() -> None:
    assert KafkaSecuritySettings().kafka_security == {}


def test_every_client_of_the_worker_gets_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    monkeypatch.setenv("EBBTIDE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("EBBTIDE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
    monkeypatch.setenv("EBBTIDE_KAFKA_SASL_USERNAME", "ebbtide")
    monkeypatch.setenv("EBBTIDE_KAFKA_SASL_PASSWORD", PASSWORD)
    monkeypatch.setenv("EBBTIDE_KAFKA_SSL_CA_LOCATION", str(authority))
    settings = StreamSettings()
    assert settings.connection.client(group_id="g").items() >= {
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "ebbtide"),
        ("sasl.password", PASSWORD),
        ("ssl.ca.location", str(authority)),
    }
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr(settings.connection)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "u"}, "needs .*SASL_PASSWORD"),
        ({"SASL_USERNAME": "u", "SASL_PASSWORD": PASSWORD}, "would not be used"),
        ({"SSL_CA_LOCATION": "/nowhere/ca.pem"}, "kafka_ssl_ca_location"),
        ({"SECURITY_PROTOCOL": "TLS"}, "kafka_security_protocol"),
    ],
    ids=["no password", "a password without a protocol", "a file that is not there", "an unknown protocol"],
)
def test_settings_that_cannot_work_are_refused_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"EBBTIDE_KAFKA_{name}", value)
    with pytest.raises(ValidationError, match=message) as refused:
        KafkaSecuritySettings()
    assert PASSWORD not in str(refused.value)
