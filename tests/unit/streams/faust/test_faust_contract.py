"""The private names of Faust that the runtime overrides or reads are there, with and without Faust's Cython parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "drivers" / "faust_contract.py"


@pytest.mark.parametrize("cython", [True, False])
def test_everything_that_the_runtime_relies_on_is_in_faust(cython: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)}
    environment.pop("NO_CYTHON", None)
    if not cython:
        environment["NO_CYTHON"] = "1"
    run = subprocess.run([sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[0] == f"cython {cython}"
