"""The dashboards in infra/dashboards are those of the code, and ask for metrics that there are."""

import json
import re
from pathlib import Path

import pytest

from cli.pages import dashboards
from cli.pages.dashboards import DASHBOARDS
from cli.pages.grafana import Dashboard, PromQuery

ROOT = Path(__file__).parents[4]
METRIC = re.compile(r"ebbtide_[a-z_]+")


def expressions(dashboard: Dashboard) -> list[str]:
    return [query.expression for panel in dashboard.panels for query in panel.queries if isinstance(query, PromQuery)]


def test_the_files_are_what_the_code_makes() -> None:
    assert dashboards.stale(ROOT) == [], "`ebbtide docs` writes them"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_each_metric_is_documented(dashboard: Dashboard) -> None:
    known = set(METRIC.findall((ROOT / "docs/metrics.md").read_text()))
    asked = {re.sub(r"_bucket$", "", name) for text in expressions(dashboard) for name in METRIC.findall(text)}

    assert asked - known == set()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_panels_fill_their_rows_and_do_not_overlap(dashboard: Dashboard) -> None:
    taken = set[tuple[int, int]]()
    for panel in json.loads(dashboards.files()[f"{dashboard.name}.json"])["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(0 <= x < 24 for x, _ in cells), panel["title"]
        taken |= cells


def test_a_stale_file_is_named(tmp_path: Path) -> None:
    dashboards.write(tmp_path)
    (tmp_path / dashboards.FOLDER / "delivery.json").write_text("{}")

    assert [path.name for path in dashboards.stale(tmp_path)] == ["delivery.json"]
