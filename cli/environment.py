"""The endpoints and folders of one instance of the local system, and the settings of its parts.

An instance is a set of servers with their own data and ports: `main`, and `demo`, which each demo creates again.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from infra.local.ports import Ports
from infra.service.worker_registry import WorkerKind, WorkerRegistry
from schemas.errors import UserError

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

S = TypeVar("S", bound="BaseSettings")

INSTANCES = {"main": 0, "demo": 100}
"""Each instance's distance from the port base."""


STREAMS = WorkerKind("streams", "stream worker")
SENDERS = WorkerKind("senders", "delivery worker")
BOUNCES = WorkerKind("bounces", "bounce listener")
WEB = WorkerKind("web", "HTTP process")
PUBLICATION = WorkerKind("profiles", "profile worker")

_SERVERS = ("EBBTIDE_DATABASE_URL", "EBBTIDE_LEDGER_URL", "EBBTIDE_KAFKA")
_PAGE_PORTS = {
    STREAMS.name: "web_port",
    SENDERS.name: "senders_web_port",
    BOUNCES.name: "bounces_web_port",
    WEB.name: "http_web_port",
    PUBLICATION.name: "profiles_web_port",
}


@dataclass(frozen=True, slots=True)
class Environment:
    """One instance: its home folder and its ports. Environment variables override both."""

    instance: str
    home: Path
    ports: Ports

    @classmethod
    def of(cls, instance: str = "main", root: Path = Path(".local")) -> "Environment":
        """The instance below `root`, with ports counted from EBBTIDE_PORT_BASE."""
        base = Ports.from_env()
        home = root if instance == "main" else root / instance
        return cls(instance, home.absolute(), Ports(base.base + INSTANCES[instance]))

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap servers."""
        return self._get("EBBTIDE_KAFKA", f"127.0.0.1:{self.ports.kafka}")

    @property
    def database_url(self) -> str:
        """The database of the hypertables, and of the ledger unless that has its own; UserError if it is no URL."""
        ours = f"postgresql://postgres@127.0.0.1:{self.ports.postgres}/ebbtide"
        return _url("EBBTIDE_DATABASE_URL", self._get("EBBTIDE_DATABASE_URL", "")) or ours

    @property
    def ledger_url(self) -> str:
        """The database of the ledger, with recipients, suppressions and limits; UserError if it is no URL."""
        return _url("EBBTIDE_LEDGER_URL", self._get("EBBTIDE_LEDGER_URL", "")) or self.database_url

    @property
    def dkim_key(self) -> Path:
        """The DKIM key of this instance."""
        return Path(self._get("EBBTIDE_DKIM_KEY", str(self.home / "dkim.pem")))

    @property
    def data_dir(self) -> Path:
        """Where stream workers keep their files."""
        return Path(self._get("EBBTIDE_DATA_DIR", str(self.home / "faust")))

    def page_port(self, kind: WorkerKind) -> int:
        """The port of the pages of worker 0; those of the others follow."""
        values = self._values()
        return int(values[_PAGE_PORTS[kind.name]])

    def registry(self, kind: WorkerKind) -> WorkerRegistry:
        """Where the workers of this kind and their supervisor write down that they run."""
        if kind is STREAMS:
            return WorkerRegistry(self.data_dir, kind, self.instance)
        folder = Path(self._get(f"EBBTIDE_{kind.name.upper()}_DIR", str(self.home / kind.name)))
        return WorkerRegistry(folder, kind, self.instance)

    @property
    def suppression_key(self) -> str:
        """The key that hashes suppressed addresses; a local instance creates its own."""
        return os.environ.get("EBBTIDE_SUPPRESSION_KEY") or self._secret("suppression.key")

    @property
    def consent_keys(self) -> list[str]:
        """The keys that sign the ledger of consent; a local instance creates its own. UserError if they are no list."""
        named = self._get("EBBTIDE_CONSENT_KEYS", "")
        if not named:
            return [self._secret("consent.key")]
        try:
            keys = json.loads(named)
        except json.JSONDecodeError:
            keys = None
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise UserError('setting EBBTIDE_CONSENT_KEYS: not a JSON array of texts, such as ["6f1a…"]')
        return keys

    @property
    def webhook_secrets(self) -> set[str] | None:
        """The names of the secrets of webhooks; None if this machine does not have them. UserError if they are no map.

        Their values are not looked at.
        """
        named = self._get("EBBTIDE_WEBHOOK_SECRETS", "")
        if not named:
            return None
        try:
            found = json.loads(named)
        except json.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise UserError('setting EBBTIDE_WEBHOOK_SECRETS: not a JSON object such as {"crm": "whsec_…"}')
        return set(found)

    @property
    def erasure_key(self) -> str:
        """The key by which erased people are recognised; a local instance creates its own."""
        return os.environ.get("EBBTIDE_ERASURE_KEY") or self._secret("erasure.key")

    @property
    def shared_erasure_key(self) -> str:
        """The same key, to store hashes by it; UserError if it would be one that no other machine has."""
        named = [name for name in _SERVERS if self._get(name, "")]
        if named and not os.environ.get("EBBTIDE_ERASURE_KEY"):
            raise UserError(
                f"setting EBBTIDE_ERASURE_KEY: not set, but {named[0]} names servers that other processes use: "
                "set it to the key that these processes have (docs/deployment.md)"
            )
        return self.erasure_key

    @property
    def own_pages(self) -> dict[str, Any]:
        """The pages of recipients on this machine, and a key of the links there, for an instance whose mails stay here.

        Where EBBTIDE_PUBLIC_URL names others, or mail is real, the environment says both.
        """
        real = os.environ.get("EBBTIDE_ALLOW_REAL_MAIL", "").lower() not in ("", "0", "false", "no", "off")
        if self._get("EBBTIDE_PUBLIC_URL", "") or real:
            return {}
        return {"public_url": f"http://127.0.0.1:{self.ports.http}", "link_keys": [self._secret("links.key")]}

    def settings(self, kind: type[S]) -> S:
        """The settings of a part: this instance's values, and the environment's for all other fields."""
        fields = kind.model_fields
        own = {name: value for name, value in self._values().items() if name in fields}
        if "suppression_key" in fields:
            own["suppression_key"] = self.suppression_key
        if "consent_keys" in fields:
            own["consent_keys"] = self.consent_keys
        if "erasure_key" in fields:
            own["erasure_key"] = self.erasure_key
        if "link_keys" in fields:
            own |= self.own_pages
        return kind(**own)

    def variables(self) -> dict[str, str]:
        """The settings of this instance as environment variables for another process."""
        values = self._values() | self._secrets() | self.own_pages
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        return {f"EBBTIDE_{name.upper()}": value for name, value in texts.items()}

    def _secrets(self) -> dict[str, Any]:
        return {
            "suppression_key": self.suppression_key,
            "consent_keys": self.consent_keys,
            "erasure_key": self.erasure_key,
        }

    def _values(self) -> dict[str, Any]:
        return {
            "kafka": self.kafka,
            "database_url": self.database_url,
            "ledger_url": self.ledger_url,
            "smtp_host": self._get("EBBTIDE_SMTP_HOST", "127.0.0.1"),
            "smtp_port": self._get("EBBTIDE_SMTP_PORT", str(self.ports.smtp)),
            "web_port": self._get("EBBTIDE_WEB_PORT", str(self.ports.web)),
            "senders_web_port": self._get("EBBTIDE_SENDERS_WEB_PORT", str(self.ports.senders_web)),
            "bounces_port": self._get("EBBTIDE_BOUNCES_PORT", str(self.ports.bounces)),
            "bounces_web_port": self._get("EBBTIDE_BOUNCES_WEB_PORT", str(self.ports.bounces_web)),
            "http_port": self._get("EBBTIDE_HTTP_PORT", str(self.ports.http)),
            "http_web_port": self._get("EBBTIDE_HTTP_WEB_PORT", str(self.ports.http_web)),
            "profiles_web_port": self._get("EBBTIDE_PROFILES_WEB_PORT", str(self.ports.profiles_web)),
            "data_dir": str(self.data_dir),
            "dkim_key": str(self.dkim_key),
        }

    def _secret(self, name: str) -> str:
        """A secret of this instance, created at its first use; only its owner can read it."""
        path = self.home / name
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.touch(mode=0o600, exist_ok=False)
            part.write_text(secrets.token_hex(32))
            part.rename(path)
        return path.read_text()

    def _get(self, name: str, default: str) -> str:
        # Variables describe the main instance: the demo always uses its own servers.
        return os.environ.get(name, default) if self.instance == "main" else default


def _url(name: str, value: str) -> str:
    """The value of a setting that is a URL or empty; raises UserError, which does not repeat it: it may be secret."""
    if not value:
        return ""
    from infra.postgres.address import require_url  # imports psycopg, which no command with our own servers waits for

    try:
        return require_url(value)
    except ValueError as error:
        raise UserError(f"setting {name}: {error}") from None
