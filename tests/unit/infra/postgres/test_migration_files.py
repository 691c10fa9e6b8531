"""What a migration must not do to a table that is in use."""

import re
from pathlib import Path

import pytest

from infra.postgres.migrate import MIGRATIONS

PUBLISHED = {"0024_lane_lines", "0028_outbox_order", "0030_links_in_order"}
"""Migrations that do it and cannot be changed any more (docs/operating.md)."""
FILES = sorted(MIGRATIONS.glob("*.sql"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_no_index_is_built_while_its_table_is_locked_for_readers(file: Path) -> None:
    """ALTER TABLE and DROP INDEX lock a table for everybody until the file ends, CREATE INDEX takes long."""
    text = re.sub(r"--.*", "", file.read_text())
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", text))
    indexed = set(re.findall(r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?\w+ ON (\w+)", text)) - made
    locked = set(re.findall(r"ALTER TABLE (?:ONLY )?(\w+)", text)) | (indexed if "DROP INDEX" in text else set())
    assert (file.stem in PUBLISHED) or not indexed & locked, "build the index in a file of its own"
