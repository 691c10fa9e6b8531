"""A file is cut into blocks at line ends, whatever its lines and however large the blocks."""

import gzip
import os
import pickle
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.rules import log_blocks
from cli.rules.log_blocks import BadLog, LogFile

lines = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line and b"\0" not in line), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, st.integers(1, 40), st.sampled_from(["log.jsonl", "log.jsonl.gz"]))
def test_blocks_together_are_the_file_and_know_the_numbers_of_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[bytes], size: int, name: str
) -> None:
    text = b"x\n" + b"\n".join(written)
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with monkeypatch.context() as patched:
        patched.setattr(log_blocks, "BLOCK_BYTES", size)
        found = [
            (number, line)
            for block in LogFile(tmp_path / name).blocks()
            for number, line in enumerate(block.lines(), block.first)
            if line
        ]
    assert found == [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line]


def test_a_line_without_an_end_stays_small_and_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(log_blocks, "MAX_LINE_BYTES", 2_000)
    (tmp_path / "log").write_bytes(b"first\n" + b"x" * 50_000 + b"\nlast")
    blocks = list(LogFile(tmp_path / "log").blocks())
    assert [(block.first, line) for block in blocks for line in block.lines() if line and b"x" not in line] == [
        (1, b"first"),
        (3, b"last"),
    ]
    longest = max(len(line) for block in blocks for line in block.lines())
    assert 2_000 < longest < 5_000


def test_lines_before_the_end_of_a_broken_gzip_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"one\ntwo\n" * 50_000)[:-9])
    blocks = LogFile(tmp_path / "log.gz").blocks()
    assert next(blocks).lines().__next__() == b"one"
    with pytest.raises(BadLog, match=r"log\.gz:\d+: not a whole gzip file"):
        list(blocks)


def test_a_block_of_a_plain_file_is_handed_over_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xef\xbb\xbfone\n" + b"two\n" * 10_000)
    [block] = LogFile(tmp_path / "log").blocks()
    assert len(pickle.dumps(block)) < 1_000
    assert list(block.lines()) == [b"one", *[b"two"] * 10_000, b""]


def test_a_log_that_is_replaced_or_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    [block] = LogFile(log).blocks()
    os.truncate(log, 4)
    with pytest.raises(BadLog, match="moved or cut while it was read"):
        block.lines()
    (tmp_path / "new").write_bytes(b"eins\nzwei\n")
    (tmp_path / "new").rename(log)
    with pytest.raises(BadLog, match="moved or cut while it was read"):
        block.lines()
    log.unlink()
    with pytest.raises(BadLog, match="log: cannot be read: No such file"):
        block.lines()


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    writer = Thread(target=(tmp_path / "log").write_bytes, args=(b"one\ntwo",))
    writer.start()
    blocks = list(LogFile(tmp_path / "log").blocks())
    writer.join()
    assert [line for block in blocks for line in block.lines()] == [b"one", b"", b"two"]
