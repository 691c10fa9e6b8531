"""A snapshot file is used if it is whole and of this changelog, and is never in anybody's way."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streams.runtime.snapshot import CHUNK, MAGIC, Origin, Snapshot, SnapshotFolder, UnusableSnapshot, read

ORIGIN = Origin("app", "app-users-changelog", "gPv1x0Q5SGC2Xn5cXgbsBw", 16, 3)
ENTRIES = {b"ann": b"1", b"bob": b"", "z\u00e9".encode(): b"\x00" * 40}
DAY_S = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path, "0")


def snapshot(entries: dict[bytes, bytes] | None = None, offset: int = 70, age_s: float = 1.0) -> Snapshot:
    return Snapshot(ENTRIES if entries is None else entries, offset, time.time() - age_s)


def save(folder: SnapshotFolder, what: Snapshot) -> Path:
    assert folder.save(ORIGIN, what, lambda: True)
    return folder.path(ORIGIN)


def refusal(folder: SnapshotFolder, origin: Origin = ORIGIN, end: int = 100) -> str:
    """Why the snapshot is not used; the log has exactly one line about it."""
    with capture_logs() as lines:
        assert folder.find(origin, end, DAY_S) is None
    (line,) = lines
    assert line["event"] == "snapshot_unused"
    assert line["file"] == str(folder.path(origin))
    return str(line["reason"])


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=300), max_size=30), st.integers(0, 2**62))
def test_a_saved_snapshot_is_found(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[bytes, bytes], at: int
) -> None:
    folder, saved = SnapshotFolder(tmp_path_factory.mktemp("snapshots"), "0"), snapshot(entries, at)
    save(folder, saved)
    assert folder.find(ORIGIN, at, DAY_S) == saved


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_any_number_of_entries_is_read_back(folder: SnapshotFolder, count: int) -> None:
    saved = snapshot({b"user-%d" % n: b"v" * (n % 7) for n in range(count)})
    save(folder, saved)
    assert folder.find(ORIGIN, 100, DAY_S) == saved


def test_a_partition_without_a_file_has_no_snapshot_and_no_line(folder: SnapshotFolder) -> None:
    with capture_logs() as lines:
        assert folder.find(ORIGIN, 100, DAY_S) is None
    assert lines == []


def test_a_later_snapshot_replaces_the_earlier_and_is_the_only_file(folder: SnapshotFolder) -> None:
    save(folder, snapshot(offset=10))
    path = save(folder, snapshot({b"ann": b"2"}, offset=20))
    found = folder.find(ORIGIN, 100, DAY_S)
    assert found is not None
    assert (found.entries, found.offset) == ({b"ann": b"2"}, 20)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_cut_at_any_length_is_refused(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot())
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnusableSnapshot):
            read(path, ORIGIN)
    path.write_bytes(whole + b"\x00")
    assert "damaged" in refusal(folder)


def test_a_file_with_any_bit_flipped_is_refused(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(UnusableSnapshot):
            read(path, ORIGIN)


def test_another_format_is_refused(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot())
    path.write_bytes(path.read_bytes().replace(MAGIC, MAGIC.replace(b"1", b"2")))
    assert "format" in refusal(folder)


@pytest.mark.parametrize(
    "other",
    [{"application": "app2"}, {"topic_id": "made-again"}, {"partitions": 32}],
    ids=["another application", "a topic that was made again", "another partition count"],
)
def test_a_snapshot_of_something_else_is_refused(folder: SnapshotFolder, other: dict[str, str]) -> None:
    save(folder, snapshot())
    assert str(next(iter(other.values()))) in refusal(folder, replace(ORIGIN, **other))


def test_a_file_under_another_partitions_name_is_refused(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot())
    other = replace(ORIGIN, partition=4)
    path.rename(folder.path(other))
    assert "'partition': 3" in refusal(folder, other)


def test_a_snapshot_beyond_the_end_of_its_changelog_is_refused(folder: SnapshotFolder) -> None:
    save(folder, snapshot(offset=70))
    assert folder.find(ORIGIN, 70, DAY_S) is not None
    assert "the changelog ends at 69" in refusal(folder, end=69)


def test_a_snapshot_from_before_tombstones_were_cleaned_away_is_refused(folder: SnapshotFolder) -> None:
    save(folder, snapshot(age_s=DAY_S - 60))
    assert folder.find(ORIGIN, 100, DAY_S) is not None
    save(folder, snapshot(age_s=DAY_S + 60))
    assert "tombstones" in refusal(folder)


def test_a_snapshot_from_the_future_is_refused(folder: SnapshotFolder) -> None:
    save(folder, snapshot(age_s=-60))
    assert "-60 s old" in refusal(folder)


def test_a_folder_in_place_of_the_file_is_refused(folder: SnapshotFolder) -> None:
    folder.path(ORIGIN).mkdir(parents=True)
    assert "directory" in refusal(folder)


def test_an_abandoned_write_leaves_the_earlier_snapshot(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot(offset=10))
    turns = iter([True, False])
    assert not folder.save(ORIGIN, snapshot(offset=20), lambda: next(turns))
    found = folder.find(ORIGIN, 100, DAY_S)
    assert found is not None
    assert found.offset == 10
    assert list(path.parent.iterdir()) == [path]


def test_only_this_workers_unfinished_files_are_tidied_away(folder: SnapshotFolder) -> None:
    path = save(folder, snapshot())
    mine, others = path.with_name("7.snapshot.0.new"), path.with_name("7.snapshot.1.new")
    mine.touch()
    others.touch()
    folder.tidy()
    assert sorted(path.parent.iterdir()) == sorted([path, others])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_costs_a_warning_and_leaves_the_earlier_snapshot(small_disk: Path) -> None:
    folder = SnapshotFolder(small_disk, "0")
    path = save(folder, snapshot(offset=10))
    with capture_logs() as lines:
        assert not folder.save(ORIGIN, snapshot({b"ann": b"v" * 100_000}, offset=20), lambda: True)
    (line,) = lines
    assert line["log_level"] == "warning"
    assert line["file"] == str(path)
    assert "No space left" in line["error"]
    found = folder.find(ORIGIN, 100, DAY_S)
    assert found is not None
    assert found.offset == 10
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = SnapshotFolder(tmp_path / "file", "0")
    with capture_logs() as lines:
        assert not folder.save(ORIGIN, snapshot(), lambda: True)
    assert "Not a directory" in lines[0]["error"]
