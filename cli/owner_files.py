"""Writes files that only their owner may read: what is kept of a person."""

from pathlib import Path


def write_for_owner(path: Path, content: bytes) -> None:
    """Write a file anew, with its folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
