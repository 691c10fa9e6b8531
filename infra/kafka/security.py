"""TLS and SASL to Kafka, read from EBBTIDE_KAFKA_… variables. Nothing set is a plain connection."""

from typing import Literal, Self

from pydantic import FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaSecuritySettings(BaseSettings):
    """Whom clients trust, and who they say they are."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_", extra="ignore", hide_input_in_errors=True)

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: FilePath | None = None
    """Authorities to trust, as PEM; unset, the system's."""
    kafka_ssl_certificate_location: FilePath | None = None
    kafka_ssl_key_location: FilePath | None = None
    kafka_ssl_key_password: SecretStr | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        given = self.kafka_sasl_username is not None, self.kafka_sasl_password is not None
        if self.kafka_security_protocol.startswith("SASL"):
            if not all(given):
                raise ValueError(
                    f"EBBTIDE_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                    "EBBTIDE_KAFKA_SASL_USERNAME and EBBTIDE_KAFKA_SASL_PASSWORD"
                )
        elif any(given):
            raise ValueError(
                "EBBTIDE_KAFKA_SASL_… is set, and would not be used: set EBBTIDE_KAFKA_SECURITY_PROTOCOL to SASL_SSL"
            )
        return self

    @property
    def kafka_security(self) -> dict[str, str]:
        """The same in librdkafka's names, secrets in clear: for a client's configuration, never for a log."""
        if self.kafka_security_protocol == "PLAINTEXT":
            return {}
        found: dict[str, str] = {"security.protocol": self.kafka_security_protocol}
        if self.kafka_security_protocol.startswith("SASL"):
            assert self.kafka_sasl_username is not None
            assert self.kafka_sasl_password is not None
            found |= {
                "sasl.mechanism": self.kafka_sasl_mechanism,
                "sasl.username": self.kafka_sasl_username,
                "sasl.password": self.kafka_sasl_password.get_secret_value(),
            }
        locations = {
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
        }
        found |= {name: str(path) for name, path in locations.items() if path is not None}
        if self.kafka_ssl_key_password is not None:
            found["ssl.key.password"] = self.kafka_ssl_key_password.get_secret_value()
        return found
