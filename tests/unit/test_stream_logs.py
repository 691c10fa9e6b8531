"""Logs: every line is one JSON object, and every event of it is documented."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INFRA = ("running", "supervising", "supervisor", "worker_slot")
LOGGING = [*(ROOT / "streams").glob("*.py"), *(ROOT / "infra" / f"{name}.py" for name in INFRA)]
EVENT = re.compile(
    r'(?:log|get_logger\(\))\.(?:info|warning|error|critical|exception)\(\s*(".*?"(?: if .*? else ".*?")?)'
)
PROGRAM = """
import logging
from streams.logs import configure_logging
configure_logging(slot=3)
import structlog
structlog.get_logger().info("recovered", records=7)
logging.getLogger("faust.app").info("Starting...")
logging.getLogger("aiohttp").warning("of %s", "another library")
raise ValueError("a defect")
"""


def test_every_line_is_json_with_the_slot_whoever_wrote_it() -> None:
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


def test_every_event_is_documented() -> None:
    logged = {name for file in LOGGING for found in EVENT.findall(file.read_text()) for name in names(found)}
    rows = (ROOT / "docs" / "operating.md").read_text().partition("| event | level |")[2].splitlines()
    documented = {name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert logged <= documented


def names(expression: str) -> list[str]:
    return re.findall(r'"(\w+)"', expression)
