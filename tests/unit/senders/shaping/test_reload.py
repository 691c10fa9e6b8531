"""A shaping file that changes is taken up; one with a mistake, or none, leaves the old one in force."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import UserError
from senders.shaping.findings import InvalidShaping
from senders.shaping.reload import ShapingReload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "shaping.toml"
    file.write_text("[default]\nconnection_limit = 1\n")
    return file


def test_a_file_that_changed_is_taken_up_once(path: Path) -> None:
    reload = ShapingReload(path)
    assert reload.changed() is None

    path.write_text("[default]\nconnection_limit = 2\n")
    with capture_logs() as logs:
        taken = reload.changed()

    assert taken is reload.file
    assert taken is not None
    assert taken.document.default.connection_limit == 2
    assert reload.changed() is None
    assert [line["event"] for line in logs] == ["shaping_reloaded"]


@pytest.mark.parametrize("text", ["[default]\nconnection_limit = 0\n", "x", None])
def test_a_file_that_cannot_be_used_leaves_the_old_one_and_is_logged_once(path: Path, text: str | None) -> None:
    reload = ShapingReload(path)
    path.unlink() if text is None else path.write_text(text)

    with capture_logs() as logs:
        assert [reload.changed() for _ in range(3)] == [None] * 3

    assert [line["event"] for line in logs] == ["shaping_refused"]
    assert reload.file.document.default.connection_limit == 1

    path.write_text("[default]\nconnection_limit = 3\n")
    assert reload.changed() is not None


def test_the_first_file_must_be_usable(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        ShapingReload(tmp_path / "none.toml")
    (tmp_path / "wrong.toml").write_text("x")
    with pytest.raises(InvalidShaping):
        ShapingReload(tmp_path / "wrong.toml")
