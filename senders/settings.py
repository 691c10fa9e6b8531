"""The settings of delivery, read from the environment with the prefix `EBBTIDE_`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from infra.kafka.connection import Connection
from infra.kafka.security import KafkaSecuritySettings
from infra.postgres.settings import DatabaseSettings
from schemas.types import Line, Name
from schemas.vocabulary import TRANSACTIONAL
from senders.content.links import LinkKeys, LinkPages
from senders.content.mail_builder import Tracking
from senders.content.message import Mailbox

InDoubtPolicy = Literal["hold", "resend"]
_OLD_TLS_WORDS = {"never": "off", "offered": "opportunistic"}

Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}$")]
BounceKeys = tuple[Annotated[SecretStr, Field(min_length=16)], ...]
"""The keys of return paths, as a JSON array: the first one signs, each verifies, so that they can be rotated."""

LinkSecrets = tuple[Annotated[SecretStr, Field(min_length=16)], ...]
"""The keys of links in mails, as a JSON array: the first one signs, each verifies, so that they can be rotated."""


def _is_address(text: str) -> str:
    return str(ip_address(text))


def dns_server(text: str) -> tuple[str, int]:
    """Address and port of a resolver; raises ValueError."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    else:
        address, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "53")
    if not 0 < int(port) < 65536:
        raise ValueError("no port")
    return str(ip_address(address)), int(port)


def _is_server(text: str) -> str:
    dns_server(text)
    return text


class SenderSettings(KafkaSecuritySettings, DatabaseSettings):
    """Where delivery finds its servers, under whose name it sends, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_", extra="ignore")

    kafka: str = "127.0.0.1:21000"

    smtp_host: str = "127.0.0.1"
    smtp_port: Annotated[int, Field(gt=0, lt=65536)] = 21003
    smtp_tls: Literal["off", "opportunistic", "required", "verified"] = "opportunistic"
    """How the relay must use TLS, in the words of the key `tls` of shaping.toml (docs/delivery.md)."""
    smtp_ca_file: Path | None = None
    """Certificates of the authorities that `verified` trusts, instead of the system's."""
    smtp_user: Line | None = None
    smtp_password: SecretStr | None = None
    """Both are said only over TLS with a verified certificate."""
    smtp_source: Annotated[str, AfterValidator(_is_address)] | None = None
    """The local IP address that connections to the server come from."""
    smtp_timeout_s: PositiveFloat = 60.0
    smtp_final_dot_timeout_s: PositiveFloat = 600.0
    """RFC 5321, 4.5.3.2.6. A shorter wait turns slow receivers into commands in doubt."""
    smtp_hello: Line = "localhost"
    allow_real_mail: bool = False

    shaping: Path | None = None
    """A shaping file (docs/shaping.md). Without one, mail to the relay has no limit but `connections`, and mail that
    goes straight to its receiver has the built-in ones."""
    route: Literal["relay", "direct"] = "relay"
    """Where mails go whose source names no relay: to `smtp_host`, or straight to the mail servers of their domain."""

    dns_servers: tuple[Annotated[str, AfterValidator(_is_server)], ...] = ()
    """Resolvers for mail that goes straight to its receiver, as `192.0.2.1`, `192.0.2.1:53` or `[2001:db8::1]:53`; none
    takes the system's. DANE needs one that validates DNSSEC and that nobody stands before."""
    dane: bool = True
    """Whether TLSA records count. They do only if the resolver validates."""
    allow_private_mx: bool = False
    """Whether the MX records of a stranger may lead to private, loopback or own addresses."""

    connections: Annotated[int, Field(ge=1, le=500)] = 16
    """Mails on their way at once; also the most that a crash can leave in doubt."""
    mails_per_connection: PositiveInt = 100
    idle_connection_s: PositiveFloat = 30.0

    mail_from: Line = "Ebbtide <mail@ebbtide.example>"
    public_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+$", max_length=300)] | None = None
    """The origin under which recipients reach the pages, such as `https://mail.shop.example`. Without it, and without
    keys, mails have no links of ours."""
    link_keys: LinkSecrets = ()
    track_opens: bool = True
    """Whether mails have an open pixel, unless their template says otherwise."""
    track_clicks: bool = True
    """Whether links of mails lead over ours, unless their template says otherwise."""
    hidden_link: bool = False
    """Whether mails whose clicks are tracked have a link that no reader sees, by which machines are known."""
    link_days: Annotated[int, Field(ge=36)] = 400
    """For how long links of mails lead to their addresses after the last mail that has them: recipients click in old
    mails. Longer than commands are known, since a mail may leave late."""
    unsubscribe_url: Annotated[str, StringConstraints(pattern=r"^https://[!-~]+$", max_length=900)] | None = None
    """A page elsewhere on which one click unsubscribes (RFC 8058), if there is no `public_url`, with `{command_id}` in
    it, on one line of at most 998 (RFC 5322, 2.1.1). Without either the two headers are left out."""
    dkim_domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}$")] = "ebbtide.example"
    dkim_selector: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,63}$")] = "demo"
    dkim_key: Path = Path(".local/dkim.pem")
    dkim_keys: Path | None = None
    """A TOML file with the keys of all From domains (`senders.content.dkim`). Selector and key are then not used."""
    feedback_sender: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{5,15}$")] | None = None
    """The sender's own part of Feedback-ID (Google), the same in all mails. Without it, there is no such header."""

    suppression_key: SecretStr
    """The secret under which suppressed addresses are hashed. Another secret means an empty suppression list."""

    erasure_key: SecretStr = SecretStr("")
    """The key by which erased people are recognised. A process without it ends once somebody was erased."""

    bounce_domain: Domain | None = None
    """The domain of the return paths, each of which names its mail and is signed; without it, and without keys, the
    return path is the sender's address, and no bounce is attributed."""
    bounce_keys: BounceKeys = ()
    bounce_rules: Path | None = None
    """A rules file of the operator, asked before ours: the classes of refusals and bounces (docs/delivery.md)."""
    retry_first_s: PositiveFloat = 60.0
    """The wait after a first deferral. Each further one doubles it, until the command expires (RFC 5321, 4.5.4.1)."""
    retry_longest_s: PositiveFloat = 21600.0
    retry_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    in_doubt: dict[Name, InDoubtPolicy] = Field(default={TRANSACTIONAL: "resend"})
    """What to do with a mail whose acceptance is unknown, by purpose; `hold` if the purpose is not named."""
    consent_stale_s: PositiveFloat = 5.0
    webhook_secrets: dict[Name, SecretStr] = Field(default={})
    """The secrets that endpoints name, as a JSON object: those that sign are `whsec_` and base64."""
    webhook_private_hosts: tuple[Annotated[str, AfterValidator(str.lower)], ...] = ()
    """Hosts of endpoints that may have private, loopback or own addresses, and get plain requests."""
    webhook_connections: Annotated[int, Field(ge=1, le=100)] = 8
    """Calls of one endpoint on their way at once, by one worker."""
    webhook_retry_first_s: PositiveFloat = 5.0
    """The wait after a first call that was not taken. Each further one doubles it, as long as retries are left."""
    webhook_retry_longest_s: PositiveFloat = 21600.0
    template_wait_s: PositiveFloat = 30.0
    """A template is published before the first command that names it, so a longer absence is an error."""
    stop_within_s: PositiveFloat = 3.0
    """How long mails on their way are awaited when the process stops; then they are in doubt."""

    senders_web_port: Annotated[int, Field(gt=0, lt=65536)] = 21200
    """The port of the pages of the worker in slot 0; those of the others follow."""

    lease_s: PositiveFloat = 15.0
    """How long a mail that a worker began is its own after the worker last said that it lives; then it is in doubt."""
    session_timeout_ms: PositiveInt = 10_000
    """How long Kafka waits for a silent worker before its partitions move to another."""
    sender_instance: str | None = None
    """A name that survives restarts gives static membership: a restart then moves no partition."""

    @field_validator("suppression_key")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < 16:
            raise ValueError("needs at least 16 characters; `openssl rand -hex 32` makes one")
        return secret

    @model_validator(mode="after")
    def _says_no_password_in_clear(self) -> Self:
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("smtp_user and smtp_password: one without the other")
        if self.smtp_user is not None and self.smtp_tls != "verified":
            raise ValueError("smtp_user needs smtp_tls=verified: a password goes only over verified TLS")
        return self

    @model_validator(mode="after")
    def _can_sign_links(self) -> Self:
        if self.public_url is not None and not self.link_keys:
            raise ValueError("public_url needs link_keys: links that nobody signs could be forged")
        return self

    @field_validator("smtp_tls", mode="before")
    @classmethod
    def _has_no_old_word(cls, word: object) -> object:
        if isinstance(word, str) and word in _OLD_TLS_WORDS:
            raise ValueError(f"`{word}` is now `{_OLD_TLS_WORDS[word]}`")
        return word

    @field_validator("mail_from")
    @classmethod
    def _names_a_mailbox(cls, text: str) -> str:
        Mailbox.parse(text)
        return text

    @property
    def connection(self) -> Connection:
        """How every client of delivery reaches Kafka."""
        return Connection(self.kafka, self.kafka_security)

    @property
    def sender(self) -> Mailbox:
        """The sender of a mail whose template names none."""
        return Mailbox.parse(self.mail_from)

    @property
    def link_pages(self) -> LinkPages | None:
        """The pages that links of mails lead to."""
        if self.public_url is None:
            return None
        return LinkPages(self.public_url, LinkKeys([key.get_secret_value() for key in self.link_keys]))

    @property
    def tracking(self) -> Tracking:
        """Which uses of mails are tracked."""
        uses = {"opens": self.track_opens, "clicks": self.track_clicks}
        return Tracking(frozenset(use for use, tracked in uses.items() if tracked), self.hidden_link)

    def policy(self, purpose: str) -> InDoubtPolicy:
        """What to do with a mail of this purpose whose acceptance is unknown."""
        return self.in_doubt.get(purpose, "hold")
