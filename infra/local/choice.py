"""The choice between native servers and containers."""

from pathlib import Path

from infra.local.compose import ComposeEngine
from infra.local.engine import Engine
from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports
from infra.local.problems import SetupProblem


def choose_engine(name: str | None = None, home: Path | None = None, ports: Ports | None = None) -> Engine:
    """Returns the engine called `native` (the default) or `compose`.

    `home` is the folder for data, logs and records, by default `.local` of this checkout; `ports` are by default the
    environment's. Raises `SetupProblem` for another name, and for `compose` if no container engine answers.
    """
    layout = Layout.of_project()
    layout = layout.in_own_partition(home) if home else layout
    ports = ports or Ports.from_env()
    if name in (None, "", "native"):
        return NativeEngine(ports, layout)
    if name == "compose":
        engine = ComposeEngine(ports, layout.home)
        engine.require()
        return engine
    raise SetupProblem(f"unknown engine {name!r}: use native or compose")
