"""Logs: every line is one JSON object, and every event of it is documented."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
FOLDERS = ("streams", "senders", "web", "infra", "cli/operations")
LOGGING = [*(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")), ROOT / "cli" / "running.py"]
EVENT = re.compile(
    r'(?:log|get_logger\(\))\.(?:info|warning|error|critical|exception)\(\s*(".*?"(?: if .*? else ".*?")?)'
)
PROGRAM = """
import logging
from infra.service.logs import configure_logging
configure_logging(slot=3)
import structlog
structlog.get_logger().info("recovered", records=7)
logging.getLogger("faust.app").info("Starting...")
logging.getLogger("aiohttp").warning("of %s", "another library")
raise ValueError("a defect")
"""

WRITES_MUCH = """
import logging, threading
import structlog
from infra.service.logs import configure_logging
configure_logging(slot=0)
def library():
    for number in range(1000):
        logging.getLogger("aiohttp").warning("%s", number)
thread = threading.Thread(target=library)
thread.start()
for number in range(1000):
    structlog.get_logger().info("recovered", records=number)
thread.join()
"""


def test_every_line_is_json_with_the_slot_from_our_code_and_from_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["level"], line["slot"]) for line in lines] == [
        ("recovered", "info", 3),
        ("of another library", "warning", 3),
        ("crashed", "critical", 3),
    ]
    assert all(line["timestamp"] for line in lines)
    assert "ValueError: a defect" in lines[-1]["exception"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_of_workers_and_their_threads_in_one_file_stay_whole(tmp_path: Path, unbuffered: str) -> None:
    with (tmp_path / "log").open("ab") as log:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITES_MUCH], stderr=log, env=os.environ | {"PYTHONUNBUFFERED": unbuffered}
            )
            for _ in range(2)
        ]
        assert [writer.wait(30) for writer in writers] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    events = Counter(json.loads(line)["event"] for line in lines)
    assert (len(lines), events["recovered"]) == (4_000, 2_000)


def test_every_event_is_documented() -> None:
    logged = {name for file in LOGGING for found in EVENT.findall(file.read_text()) for name in names(found)}
    rows = (ROOT / "docs" / "operating.md").read_text().partition("| event | level |")[2].splitlines()
    documented = {name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert logged <= documented


def names(expression: str) -> list[str]:
    return re.findall(r'"(\w+)"', expression)
