"""What the page of analysts says about speed is what was measured."""

import json
import re

from infra.local.layout import PROJECT_ROOT
from perf.analytics_page import SOURCE
from perf.bench_analytics import FILE


def test_the_page_says_what_was_measured() -> None:
    runs = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    measured = {
        (run["settings"]["rows"], round(max(each["median_ms"] for each in run["questions"].values()))) for run in runs
    }
    text = " ".join((PROJECT_ROOT / SOURCE).read_text(encoding="utf-8").split())
    said = re.search(r"On a million rows of engagement .* they took 1 to (\d+) ms", text)
    assert said
    assert (1_000_000, int(said[1])) in measured
