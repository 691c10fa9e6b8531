"""The folder of a backup: a manifest, a file for each table, and one for each topic that is copied."""

import gzip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from infra.postgres.table_copy import CopiedTable, SequenceValue
from schemas.errors import UserError

FORMAT = "ebbtide-backup-1"
MANIFEST = "manifest.json"
BLOCK = 1 << 20
HEX = "\\\\x"
"""Begins a value of bytes, as COPY writes it."""
Offsets = Mapping[str, Mapping[int, int]]
"""By topic and partition."""


class WrongBackup(UserError):
    """The folder is no whole backup, or none that can be restored here."""


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """What was copied of one database."""

    tables: Sequence[CopiedTable]
    sequences: Sequence[SequenceValue]


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup holds. `ledger` is the whole database where the ledger has none of its own."""

    made_at: datetime
    cluster: str
    """The id of the Kafka cluster."""
    partitions: int
    migrations: Sequence[str]
    databases: Mapping[str, DatabaseCopy]
    groups: Mapping[str, Offsets]
    """Up to where groups had committed when the backup began."""
    ends: Offsets
    """Where `outcomes` ended then."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file, by its path in the folder."""

    @property
    def erasures(self) -> CopiedTable | None:
        """The list of erased people."""
        return next((table for table in self.databases["ledger"].tables if table.name == "erasures"), None)

    def write(self, folder: Path) -> None:
        """Write the manifest, last of all: a folder without one is no backup."""
        part = folder / f"{MANIFEST}.part"
        part.write_bytes(
            orjson.dumps({"format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        )
        part.rename(folder / MANIFEST)


def read(folder: Path) -> BackupManifest:
    """The manifest of a folder. Raises WrongBackup."""
    try:
        said = orjson.loads((folder / MANIFEST).read_bytes())
        if said.pop("format") != FORMAT:
            raise WrongBackup(f"{folder}: a backup of another version, not {FORMAT}")
        said["made_at"] = datetime.fromisoformat(said["made_at"])
        said["databases"] = {name: _database(each) for name, each in said["databases"].items()}
        said["groups"] = {group: _offsets(each) for group, each in said["groups"].items()}
        said["ends"] = _offsets(said["ends"])
        return BackupManifest(**said)
    except FileNotFoundError:
        raise WrongBackup(f"{folder}: no {MANIFEST}: not a backup, or one that did not end") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WrongBackup(f"{folder / MANIFEST}: cannot be read ({type(error).__name__})") from None


def _database(said: dict[str, Any]) -> DatabaseCopy:
    return DatabaseCopy(
        [CopiedTable(**each) for each in said["tables"]], [SequenceValue(**each) for each in said["sequences"]]
    )


def _offsets(said: dict[str, dict[str, int]]) -> Offsets:
    return {topic: {int(number): offset for number, offset in places.items()} for topic, places in said.items()}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below the folder but the manifest."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def require_whole(folder: Path, manifest: BackupManifest, told: Callable[[int], None]) -> None:
    """Raises WrongBackup for the first file that is missing or not as it was written."""
    for number, (name, expected) in enumerate(manifest.digests.items()):
        path = folder / name
        if not path.is_file():
            raise WrongBackup(f"{path}: missing; take another backup")
        if _digest(path) != expected:
            raise WrongBackup(f"{path}: not as it was written; take another backup")
        told(number + 1)


def erasure_keys(folder: Path, table: CopiedTable) -> set[bytes]:
    """The ids of the keys under which the people of a copied list were erased. Raises WrongBackup."""
    try:
        at = table.columns.index("key_id")
        with gzip.open(folder / table.file, "rt", encoding="utf-8") as rows:
            return {bytes.fromhex(row.rstrip("\n").split("\t")[at].removeprefix(HEX)) for row in rows}
    except (IndexError, ValueError) as error:
        raise WrongBackup(f"{folder / table.file}: cannot be read ({type(error).__name__})") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
