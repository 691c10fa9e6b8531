"""Parts of an erasure that need no server."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from drivers.command_line import ebbtide
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.privacy.compaction import nobody_in
from cli.privacy.lake_erasure import NoLake, erase_from
from cli.privacy.receipt import ErasureReceipt, PlaceEnd, PlaceReceipt
from cli.privacy.retaining import InvalidPrivacyFile, kept_ms, privacy_rules
from infra.postgres.personal_tables import PersonKeys
from schemas.codec import partition_for
from schemas.people import is_nobody
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules

NOW = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)


@given(st.integers(1, 200), st.data())
def test_a_rolling_record_is_of_nobody_and_at_home_in_its_partition(partitions: int, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    key = nobody_in(partition, partitions)
    assert partition_for(key, partitions) == partition
    assert is_nobody(key.decode())


def test_a_receipt_cuts_no_name_and_says_whether_another_run_is_needed() -> None:
    place = "topic a-very-long-name-of-a-group-user-state-changelog"
    places = [PlaceReceipt(place, PlaceEnd.PENDING, "not dropped", "read: 3", None)]
    receipt = ErasureReceipt(["ab" * 16], NOW, NOW, True, places)
    out = StringIO()
    receipt.show(Console(file=out, width=40))
    assert place in out.getvalue()
    assert "another run" in out.getvalue()
    assert not receipt.is_complete
    assert receipt.values()["places"][0]["by"] is None


def test_people_are_erased_together_each_of_their_names_once() -> None:
    both = PersonKeys(("a", "v"), ("a@x",), (b"1",)) | PersonKeys(("b", "v"), (), (b"1", b"2"))
    assert both == PersonKeys(("a", "v", "b"), ("a@x",), (b"1", b"2"))


def test_a_trigger_keeps_what_it_looked_at_as_long_as_its_events_say(tmp_path: Path) -> None:
    file = tmp_path / "privacy.yaml"
    file.write_text('keep: {"*": 30d, paid: 2d}\n')
    text = """
trigger: thanks
purpose: transactional
on: paid
send: hello
---
trigger: other
purpose: transactional
on: seen
send: hello
"""
    rules = load_rules([SourceFile("rules.yaml", text)], {"hello": "hash"})
    kept = {"thanks": 2 * 86_400_000, "other": 30 * 86_400_000}
    assert kept_ms(privacy_rules(file), rules, ["thanks"]) == kept
    assert kept_ms(privacy_rules(file), rules, ["gone"]) == kept | {"gone": 30 * 86_400_000}
    assert kept_ms(privacy_rules(file), None, ["gone"]) == {"gone": 30 * 86_400_000}
    file.write_text("keep: {paid: 2d}\n")
    assert kept_ms(privacy_rules(file), rules, ["gone"]) == {"thanks": 2 * 86_400_000}


def test_a_wrong_privacy_file_is_named_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "privacy.yaml"
    file.write_text("keep: {paid: soon}\n")
    with pytest.raises(InvalidPrivacyFile, match=r"privacy\.yaml:1:14"):
        privacy_rules(file)


def test_a_folder_without_an_export_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(NoLake, match="ebbtide export"):
        list(erase_from([tmp_path], ["ann"], NOW))


def test_a_folder_without_an_export_is_named_before_anything_is_erased(tmp_path: Path) -> None:
    nowhere = {"EBBTIDE_DATABASE_URL": "postgresql://127.0.0.1:1/none", "EBBTIDE_ERASURE_KEY": "a key of this test"}
    done = ebbtide("privacy", "erase", "ann", "--yes", "--lake", tmp_path, **nowhere)
    assert done.returncode == 2
    assert "no lake; name the folder" in done.stderr
