"""Sinks that are forked from an interpreter that has imported them: most tests of delivery start one."""

import os
from pathlib import Path

from drivers.warm_interpreter import WarmProcess, run_warm

from infra.local.sink_process import ProviderSink, Sink


class WarmSink(Sink):
    """The sink of the demo."""

    def _run(self, command: list[str], log: Path) -> WarmProcess:
        return _run_module(command, log)


class WarmProviderSink(ProviderSink):
    """The sink of providers."""

    def _run(self, command: list[str], log: Path) -> WarmProcess:
        return _run_module(command, log)


def _run_module(command: list[str], log: Path) -> WarmProcess:
    _python, _m, module, *arguments = command
    return run_warm(module, f"from {module} import main; main()", os.environ, log, arguments)
