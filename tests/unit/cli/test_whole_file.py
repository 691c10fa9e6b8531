"""A file is written whole or not at all, whatever stands at its path."""

import os
from pathlib import Path

import pytest

from cli.whole_file import whole_file


def test_a_file_is_replaced_when_the_block_has_ended_and_never_before(tmp_path: Path) -> None:
    (file := tmp_path / "page").write_bytes(b"old")
    with whole_file(file) as out:
        out.write(b"new")
        out.flush()
        assert file.read_bytes() == b"old"
    assert (file.read_bytes(), [*tmp_path.iterdir()]) == (b"new", [file])


def test_others_may_read_the_file_as_far_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "page"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o640


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as out:
        out.write(b"page")
    assert os.read(reader, 10) == b"page"
    os.close(reader)
    assert pipe.is_fifo()


def test_an_error_names_the_path_that_the_person_gave(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused, whole_file(tmp_path / "nowhere" / "page"):
        pass
    assert refused.value.filename == str(tmp_path / "nowhere" / "page")
