"""The keys of DKIM: how they are made, kept, published and rotated, and which of them sign a mail.

A mail of a brand is signed with the key that the brand names. Any other mail is signed with the keys of its From
domain, or of the nearest domain above it that has keys, or else of the domain of the settings: with one RSA key and,
where there is one, with one of Ed25519 (RFC 8463), each the latest whose time has come. A verifier ignores the
algorithm that it does not know.

The file of keys is TOML. Paths are relative to it:

    [[keys]]
    domain = "shop.example"
    selector = "autumn"
    file = "autumn.pem"

    [[keys]]                            # signs from this moment on; its DNS record must be published before it
    domain = "shop.example"
    selector = "winter"
    file = "winter.pem"
    from = 2026-12-01T00:00:00Z
"""

import base64
import hashlib
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from schemas.brands import DkimName
from schemas.errors import UserError
from schemas.mistakes import mistakes
from senders.content.message import Message
from senders.content.signatures import ALWAYS, RSA, PrivateKey, SigningKey

KEY_BITS = 2048


class KeyProblem(UserError):
    """The signing key cannot be used; the message names the file and the next step."""


class NoSigningKey(Exception):
    """A brand's mails are to be signed with a key that is not here, or not in force yet. The message names it."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs mails with the keys of their From domain, or with those of `domain`."""

    domain: str
    keys: Sequence[SigningKey]
    _by_domain: dict[str, list[SigningKey]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for key in sorted(self.keys, key=lambda each: each.since):
            self._by_domain.setdefault(key.domain.lower(), []).append(key)

    def sign(self, message: Message, from_domain: str, at: datetime, named: DkimName | None = None) -> bytes:
        """The mail with one DKIM-Signature field before it for each algorithm, or with that of the `named` key alone.

        Raises NoSigningKey if that key is not here, or not in force yet.
        """
        keys = self.keys_of(from_domain, at) if named is None else [self.key_named(named, at)]
        body_hash = hashlib.sha256(message.body).digest()
        signatures = [key.signature(message.fields, body_hash, at) for key in keys]
        return "".join(signatures).encode("ascii") + bytes(message)

    def keys_of(self, from_domain: str, at: datetime) -> Sequence[SigningKey]:
        """The keys that sign mails from this domain at this instant."""
        for domain in (*_upwards(from_domain.lower()), self.domain.lower()):
            in_force = {key.algorithm: key for key in self._by_domain.get(domain, ()) if key.since <= at}
            if in_force:
                return list(in_force.values())
        return ()

    def key_named(self, name: DkimName, at: datetime) -> SigningKey:
        """The key that a domain publishes under a selector; raises NoSigningKey."""
        for key in self._by_domain.get(name.domain.lower(), ()):
            if key.selector == name.selector and key.since <= at:
                return key
        raise NoSigningKey(f"no key for {name}")


def _upwards(domain: str) -> Iterator[str]:
    while domain:
        yield domain
        domain = domain.partition(".")[2]


class _KeyEntry(BaseModel):
    """One key in the file of keys."""

    model_config = ConfigDict(extra="forbid")

    domain: str = Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")
    selector: str = Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")
    file: Path
    since: datetime = Field(default=ALWAYS, alias="from")

    @field_validator("since", mode="before")
    @classmethod
    def _begin_of_day(cls, value: Any) -> Any:
        """A date means its first moment in UTC, and so does a time without an offset."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[_KeyEntry] = []


def key_names(domain: str, selector: str, keys: Path | None) -> set[str]:
    """Where the keys that these settings give are published, without reading the keys; raises KeyProblem."""
    named = [(domain, selector)] if keys is None else [(each.domain, each.selector) for each in _listed(keys)]
    return {f"{selector}._domainkey.{domain.lower()}" for domain, selector in named}


def read_keys(path: Path) -> list[SigningKey]:
    """The keys that a TOML file lists; raises KeyProblem with the first thing that is wrong."""
    return [_signing_key(entry, load_key(path.parent / entry.file)) for entry in _listed(path)]


def _listed(path: Path) -> list[_KeyEntry]:
    try:
        listed = _KeyFile.model_validate(tomllib.loads(path.read_text())).keys
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KeyProblem(f"{path}: not a readable TOML file of DKIM keys ({error})") from None
    except ValidationError as error:
        place, words = next(iter(mistakes(error).items()))
        raise KeyProblem(f"{path}: {place}: {words}; docs/delivery.md shows such a file") from None
    if not listed:
        raise KeyProblem(f"{path}: lists no key; each is a table [[keys]] with domain, selector and file")
    return listed


def load_signer(domain: str, selector: str, key: Path, keys: Path | None = None) -> Signer:
    """The signer with the keys of the file `keys` or, where there is none, with one key; raises KeyProblem."""
    if keys is None:
        return Signer(domain, [SigningKey(domain, selector, load_key(key))])
    signer = Signer(domain, read_keys(keys))
    for each in sorted({domain, *(key.domain for key in signer.keys)}):
        if not any(key.algorithm == RSA for key in signer.keys if key.domain == each):
            raise KeyProblem(f"{keys}: {each} has no RSA key, and many receivers verify no other (RFC 8463)")
    if all(key.since > ALWAYS for key in signer.keys if (key.domain, key.algorithm) == (domain, RSA)):
        raise KeyProblem(f"{keys}: {domain} has no RSA key without `from`, and signs for all domains without keys")
    return signer


def _signing_key(entry: _KeyEntry, key: PrivateKey) -> SigningKey:
    return SigningKey(entry.domain, entry.selector, key, entry.since)


def generate_key(path: Path) -> rsa.RSAPrivateKey:
    """Make a 2048-bit RSA key and write it to `path`, which only its owner can read. Never replaces a file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def load_key(path: Path) -> PrivateKey:
    """The key in the PEM file `path`, RSA or Ed25519; raises KeyProblem."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyProblem(f"{path}: no DKIM key; set EBBTIDE_DKIM_KEY, or make one with `generate_key`") from None
    except (OSError, ValueError, TypeError) as error:
        raise KeyProblem(f"{path}: not a readable, unencrypted PEM key ({type(error).__name__})") from None
    if isinstance(key, ed25519.Ed25519PrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 1024):
        return key
    raise KeyProblem(f"{path}: DKIM needs an RSA key of at least 1024 bits (RFC 8301), or an Ed25519 key (RFC 8463)")


def dns_record(key: PrivateKey) -> str:
    """The TXT record to publish at SELECTOR._domainkey.DOMAIN."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(key.public_key().public_bytes_raw()).decode()}"
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
