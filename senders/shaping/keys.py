"""The keys of shaping.toml that say how a lane sends: their types, bounds, defaults and meaning. Declared only here.

A key that KumoMTA has too has the same name and meaning here. Every limit counts over all workers.
"""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from senders.shaping.quantities import SendRate, duration_text, parse_duration


class TlsPolicy(StrEnum):
    """How a lane uses STARTTLS."""

    OPPORTUNISTIC = "opportunistic"
    """Where it is offered and works; its certificate is not verified."""
    REQUIRED = "required"
    """Never without; its certificate is not verified."""
    VERIFIED = "verified"
    """Never without, and only with a certificate that verifies for the host."""
    OFF = "off"


def _rate(value: Any) -> SendRate:
    if not isinstance(value, str):
        raise ValueError('a rate is text, as in "100/s"')
    return SendRate.parse(value)


def _duration(value: Any) -> timedelta:
    if not isinstance(value, str):
        raise ValueError('a duration is text with its unit, as in "60s"')
    return parse_duration(value)


def _between(shortest: str, longest: str) -> Callable[[timedelta], timedelta]:
    least, most = parse_duration(shortest), parse_duration(longest)

    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            raise ValueError(f"must be from {shortest} to {longest}")
        return value

    return check


RateText = Annotated[SendRate, BeforeValidator(_rate), PlainSerializer(str)]
DurationText = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(duration_text)]
Timeout = Annotated[DurationText, AfterValidator(_between("1s", "30m"))]
Wait = Annotated[DurationText, AfterValidator(_between("1s", "7d"))]
Connections = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Deliveries = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Switch = Annotated[bool, Field(strict=True)]


class ShapingTable(BaseModel):
    """The base of every table of the file: it takes the keys that it declares, and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LaneKeys(ShapingTable):
    """The keys of a lane. None stands for a key that is not written."""

    connection_limit: Annotated[Connections | None, Field(description="Connections at once.")] = None
    max_connection_rate: Annotated[RateText | None, Field(description="New connections.")] = None
    max_deliveries_per_connection: Annotated[
        Deliveries | None, Field(description="Mails on a connection before it is closed.")
    ] = None
    max_message_rate: Annotated[RateText | None, Field(description="Mails begun.")] = None
    consecutive_connection_failures_before_delay: Annotated[
        Deliveries | None, Field(description="Failed connections in a row before the lane rests for `retry_interval`.")
    ] = None
    retry_interval: Annotated[
        Wait | None, Field(description="Wait after the first deferral; doubled after each further one.")
    ] = None
    max_retry_interval: Annotated[Wait | None, Field(description="The longest such wait.")] = None
    tls: Annotated[
        TlsPolicy | None, Field(description="STARTTLS: `opportunistic`, `required`, `verified` or `off`.")
    ] = None
    enable_mta_sts: Annotated[Switch | None, Field(description="Obey the domain's MTA-STS policy (RFC 8461).")] = None
    enable_dane: Annotated[Switch | None, Field(description="Obey TLSA records (RFC 7672).")] = None
    remember_broken_tls: Annotated[
        DurationText | None, Field(description="How long broken TLS is remembered where it is `opportunistic`.")
    ] = None
    connect_timeout: Annotated[Timeout | None, Field(description="Wait for a connection.")] = None
    banner_timeout: Annotated[Timeout | None, Field(description="Wait for the greeting.")] = None
    ehlo_timeout: Annotated[Timeout | None, Field(description="Wait for the answer to EHLO.")] = None
    starttls_timeout: Annotated[Timeout | None, Field(description="Wait for STARTTLS and the handshake.")] = None
    mail_from_timeout: Annotated[Timeout | None, Field(description="Wait for the answer to MAIL.")] = None
    rcpt_to_timeout: Annotated[Timeout | None, Field(description="Wait for the answer to RCPT.")] = None
    data_timeout: Annotated[Timeout | None, Field(description="Wait for the answer to DATA.")] = None
    data_dot_timeout: Annotated[
        Timeout | None, Field(description="Wait for the answer to the final dot; a short one puts mails in doubt.")
    ] = None
    rset_timeout: Annotated[Timeout | None, Field(description="Wait for the answer to RSET.")] = None
    idle_timeout: Annotated[Timeout | None, Field(description="An idle connection is closed after this.")] = None


DEFAULTS = LaneKeys(
    connection_limit=10,
    max_connection_rate="100/m",
    max_deliveries_per_connection=100,
    max_message_rate="100/s",
    consecutive_connection_failures_before_delay=100,
    retry_interval="20m",
    max_retry_interval="6h",
    tls="opportunistic",
    enable_mta_sts=True,
    enable_dane=False,
    remember_broken_tls="3d",
    connect_timeout="60s",
    banner_timeout="60s",
    ehlo_timeout="60s",
    starttls_timeout="30s",
    mail_from_timeout="5m",
    rcpt_to_timeout="5m",
    data_timeout="2m",
    data_dot_timeout="10m",
    rset_timeout="5s",
    idle_timeout="60s",
)
"""What holds where the file says nothing. Waits for replies follow RFC 5321, 4.5.3.2."""


class ProviderKeys(LaneKeys):
    """The keys of a provider: those of a lane, and limits that all of a source's lanes to the provider share."""

    provider_connection_limit: Annotated[
        Connections | None, Field(description="Connections at once of a source to all sites of the provider.")
    ] = None
    provider_max_message_rate: Annotated[
        RateText | None, Field(description="Mails begun from a source to all sites of the provider.")
    ] = None


KEYS: tuple[str, ...] = tuple(ProviderKeys.model_fields)
"""Every key, in the order in which they are shown."""
