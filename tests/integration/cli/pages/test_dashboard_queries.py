"""Prometheus' own parser reads each query of the dashboards."""

import os
import subprocess
from pathlib import Path

import yaml
from drivers.debian_programs import debian_program

from cli.pages.dashboards import DASHBOARDS
from cli.pages.grafana import PromQuery


def test_promtool_reads_each_query(tmp_path: Path) -> None:
    promtool = debian_program("promtool", "prometheus", ())
    queries = [query for dashboard in DASHBOARDS for panel in dashboard.panels for query in panel.queries]
    expressions = [query.expression for query in queries if isinstance(query, PromQuery)]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    done = subprocess.run(
        [promtool.file, "check", "rules", file], env=os.environ | promtool.environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
