"""CPU time by kind of thread."""

import os
import threading
import time

import pytest

from perf.threads import MAIN, OTHERS, cpu_s_by_kind, kind_of


@pytest.mark.parametrize(
    ("name", "main", "kind"),
    [
        ("python", True, MAIN),
        ("python", False, OTHERS),
        ("rdk:broker1", False, "librdkafka"),
        ("C2 CompilerThre", False, "JIT compiler"),
        ("G1 Main Marker", False, "garbage collector"),
        ("VM Thread", False, "garbage collector"),
        ("KeyedProcess ->", False, OTHERS),
    ],
)
def test_a_thread_is_known_by_its_name(name: str, main: bool, kind: str) -> None:
    assert kind_of(name, main=main) == kind


def test_the_threads_of_a_process_have_its_cpu_time() -> None:
    def work() -> None:
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass
        worked.set()
        done.wait()

    worked, done = threading.Event(), threading.Event()
    before = cpu_s_by_kind([os.getpid()])
    thread = threading.Thread(target=work)
    thread.start()
    worked.wait()
    after = cpu_s_by_kind([os.getpid()])
    done.set()
    thread.join()
    assert after[OTHERS] - before.get(OTHERS, 0.0) >= 0.25
    assert after[MAIN] - before[MAIN] < 0.2
