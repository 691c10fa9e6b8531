"""A database as it was before one of the migrations."""

from pathlib import Path

import pytest

from infra.postgres import migrate as migrations


def migrate_before(number: str, database_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Runs the migrations before that number. They are copied to an empty folder for that."""
    for file in migrations.MIGRATIONS.glob("*.sql"):
        if file.stem < number:
            (folder / file.name).write_bytes(file.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", folder)
        migrations.migrate(database_url)
