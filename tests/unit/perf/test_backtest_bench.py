"""The benchmark of backtests counts the memory of a process together with that of its children."""

import os
import subprocess
import sys

from perf.bench_backtest import tree_rss_mib


def test_the_memory_of_children_is_counted() -> None:
    before = tree_rss_mib(os.getpid())
    program = "import sys; kept = bytearray(60_000_000); print('ready', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        assert tree_rss_mib(os.getpid()) > before + 55
        child.stdin.close()
