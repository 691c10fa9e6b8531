"""What the workers of a chaos run logged: how often each thing, and what only a defect would log."""

from collections import Counter
from pathlib import Path

import orjson
from slow_model.compare import Comparison

DEFECTS = (
    *("crashed", "mail_failed", "command_set_aside", "ledger_row_refused"),
    *("outcome_not_published", "outcome_not_marked", "record_not_replaced"),
)


def read_logs(folder: Path, found: Comparison, happened: Counter[str]) -> None:
    """Counts what is in the logs, without the lines of libraries and those that a killed worker left half-written."""
    for log in sorted(folder.glob("worker-*.log")):
        for line in log.read_bytes().splitlines():
            try:
                said = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            happened[f"logged {said['event'] if said['event'].isidentifier() else 'by libraries'}"] += 1
            if said["event"] in DEFECTS:
                found.note(f"workers logged {said['event']}", {"log": log.name, **said})
