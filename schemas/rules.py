"""What `rules` and `control` carry: texts by their hash, the manifest that names a whole set, and the switches."""

import hashlib
from collections.abc import Collection
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from schemas.brands import Brand
from schemas.endpoints import Endpoint
from schemas.types import Count, Fact, Instant, Name
from schemas.vocabulary import PauseMode


class Text(Fact):
    """One file of a set, kept under `text/<hash>` while a manifest or a running occurrence refers to it."""

    kind: Literal["rule", "template"]
    path: Annotated[str, Field(max_length=512)]
    body: str


DEFAULT_SET = "default"
"""The set of who names none."""


class SetFile(Fact):
    """One file of a named set, and since which manifest its text is what it is."""

    set: Name = DEFAULT_SET
    kind: Literal["rule", "template"]
    path: Annotated[str, Field(max_length=512)]
    text: str
    """The hash of the text. Two templates with one text are two files."""
    since: Count
    at: Instant
    by: str = ""
    folder: Annotated[str, Field(max_length=128)] = ""
    """Of a template that belongs to a brand: the brand's folder."""

    @property
    def name(self) -> str:
        """A template's name: the file's, without suffix and folders other than its brand's."""
        return template_name(self.path, self.folder)


class Manifest(Fact):
    """The running rules: everything named here becomes current at once. Kept under the key `current`."""

    number: Count
    texts: list[str]
    applied_at: Instant
    applied_by: str = ""
    files: list[SetFile] = Field(default_factory=list)
    """The files of every set; empty in a manifest of an older program, which knew only the texts."""
    restores: Count | None = None
    """The number of the earlier manifest that this one goes back to."""
    endpoints: list[Endpoint] = Field(default_factory=list)
    """Where webhooks go, from the documents of all sets."""
    pinned: dict[str, Instant] = Field(default_factory=dict)
    """Texts of earlier sets that running occurrences may have begun with, and when each was replaced."""
    brands: list[Brand] = Field(default_factory=list)
    """The brands of all sets, for delivery, which reads no rules."""


DELIVERY = "delivery"
"""The scope of everything that delivery does."""
RETRIED_KINDS = ("trigger", "purpose", "domain", "provider", "site", "source")
"""What a scope of delivery can name so that its waiting commands can be retried. All of delivery can be, too."""
_CONTROL_SCOPE = r"^(global|(trigger|purpose|brand|endpoint)/.+|delivery(/[a-z]+/.+)?)$"


class Control(Fact):
    """A switch, kept under its scope: `global`, or a trigger, purpose, brand or endpoint, as in `trigger/NAME`.

    `delivery`, and `delivery/` before a kind and a name, is a scope of delivery only: decisions go on. With `values` it
    pauses nothing: a key of the shaping file has another value there.
    """

    number: Count
    scope: Annotated[str, Field(pattern=_CONTROL_SCOPE, max_length=256)]
    paused: bool
    by: str = ""
    at: Instant
    limits: dict[Name, float] = Field(default_factory=dict)
    mode: PauseMode = PauseMode.HOLD
    """What delivery does with a command while its scope is paused."""
    until: Instant | None = None
    """When delivery's pause ends by itself."""
    why: str = ""
    retry: bool = False
    """No switch: deferred commands of the scope are due at once. Kept under `retry/` and the scope."""

    values: Annotated[dict[Name, bool | int | str], Field(max_length=1)] = Field(default_factory=dict)
    """The key of shaping.toml that has another value until `until`, kept under `set/`, the key and the scope."""

    trace: Annotated[str, Field(max_length=60)] = ""
    """No switch: until `until`, workers show conversations with the domain on this channel of PostgreSQL."""
    most: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many conversations each worker shows at most."""

    @property
    def key(self) -> str:
        """The key of its record."""
        if self.trace:
            return f"trace/{self.scope}"
        for name in self.values:
            return f"set/{name}/{self.scope}"
        return f"retry/{self.scope}" if self.retry else self.scope

    def in_force(self, now: datetime) -> bool:
        """Whether its time is not over."""
        return self.until is None or now < self.until


def brand_folder(path: str, folders: Collection[str]) -> str:
    """The brand's folder that a template lies in directly; empty if it lies in none of these."""
    parent = PurePosixPath(path).parent.name
    return parent if parent in folders else ""


def template_name(path: str, folder: str) -> str:
    """A template's name by its file, behind its brand's folder, which may be empty."""
    stem = PurePosixPath(path).stem
    return f"{folder}/{stem}" if folder else stem


CURRENT = "current"


def text_hash(body: str) -> str:
    """The name of a text: blake2b-128 of its UTF-8 bytes."""
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


def text_key(digest: str) -> str:
    """The key under which a text is kept on `rules`."""
    return f"text/{digest}"
