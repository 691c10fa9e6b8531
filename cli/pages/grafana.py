"""Dashboards as Grafana's JSON (schema version 39), made from panels: each a title, a unit and its queries. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 24
"""Of a dashboard, in Grafana's columns."""
HEIGHT = 8
_PROMETHEUS = {"type": "prometheus", "uid": "${metrics}"}
_POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${database}"}
_SOURCES = {"metrics": "prometheus", "database": "grafana-postgresql-datasource"}
"""The variables of the data sources, which the reader of a dashboard chooses."""


@dataclass(frozen=True, slots=True)
class PromQuery:
    """A query of Prometheus; `legend` names its series."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class SqlQuery:
    """A query of the analysts' views. `$__timeFilter(column)` is Grafana's macro."""

    sql: str
    is_series: bool = True


Query = PromQuery | SqlQuery


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot or table. `unit` is Grafana's name of a unit."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels, each row with a title."""

    name: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    since: str = "now-6h"
    """The begin of the time that it shows at first."""

    @property
    def panels(self) -> list[Panel]:
        """All panels, row by row."""
        return [panel for _, panels in self.rows for panel in panels]


def model(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": f"ebbtide-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["ebbtide"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_placed(dashboard)),
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, str]]:
    kinds = {type(query) for panel in dashboard.panels for query in panel.queries}
    for name, source in _SOURCES.items():
        if (PromQuery if name == "metrics" else SqlQuery) in kinds:
            yield {"name": name, "label": name, "type": "datasource", "query": source}


def _placed(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in dashboard.rows:
        number += 1
        row = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": row}
        y += 1
        width = WIDTH // min(len(panels), 3)
        for index, panel in enumerate(panels):
            number += 1
            place = {"h": HEIGHT, "w": width, "x": index % 3 * width, "y": y + index // 3 * HEIGHT}
            yield _panel(panel, number) | {"gridPos": place}
        y += -(-len(panels) // 3) * HEIGHT


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    targets = [_target(query, chr(ord("A") + index)) for index, query in enumerate(panel.queries)]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": targets[0]["datasource"],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def _target(query: Query, letter: str) -> dict[str, Any]:
    if isinstance(query, PromQuery):
        return {
            "refId": letter,
            "datasource": _PROMETHEUS,
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
        }
    form = "time_series" if query.is_series else "table"
    return {"refId": letter, "datasource": _POSTGRES, "rawQuery": True, "rawSql": query.sql, "format": form}
