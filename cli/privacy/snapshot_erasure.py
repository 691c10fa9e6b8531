"""Looks for a person in the snapshots of stream workers, which each worker writes anew after it has dropped a state."""

import time
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cli.privacy.receipt import PlaceEnd, PlaceReceipt
from streams.runtime.snapshot import UnusableSnapshot, keys_in
from streams.runtime.snapshotter import OLD_S

POLL_S = 0.5


def wait_for_snapshots(
    folder: Path, changelog: str, ids: Collection[str], until_s: float, now: datetime
) -> PlaceReceipt:
    """Waits until no file below this folder has an id; says what is left at `until_s`."""
    keys = {each.encode() for each in ids}
    while left := [path for path in _files(folder, changelog) if _has(path, keys)]:
        if time.monotonic() >= until_s:
            break
        time.sleep(POLL_S)
    files = len([*_files(folder, changelog)])
    checked = f"read: {files} files, {len(left)} with the person"
    if not left:
        done = "written anew by their workers" if files else "no worker keeps snapshots on this machine"
        return PlaceReceipt(f"snapshots in {folder}", PlaceEnd.GONE, done, checked, now)
    by = now + timedelta(seconds=OLD_S)
    done = f"their workers write or remove them: {', '.join(path.name for path in left)}"
    return PlaceReceipt(f"snapshots in {folder}", PlaceEnd.EXPIRES, done, checked, by)


def elsewhere(now: datetime) -> PlaceReceipt:
    """The files of workers on other machines, which cannot be read from here."""
    done = "each worker writes its own anew within a minute, and removes those of partitions that it gave up"
    by = now + timedelta(seconds=OLD_S)
    return PlaceReceipt("snapshots on other machines", PlaceEnd.EXPIRES, done, "not from here", by)


def _files(folder: Path, changelog: str) -> Iterator[Path]:
    return folder.glob(f"**/{changelog}/*.snapshot")


def _has(path: Path, keys: Collection[bytes]) -> bool:
    try:
        return not keys_in(path).isdisjoint(keys)
    except (UnusableSnapshot, FileNotFoundError):  # no worker can read it either, or it was just replaced
        return False
