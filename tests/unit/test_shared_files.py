"""The files of a run are shared among the processes: each once, and to one process only those that compute."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drivers.shared_files import ROOT, SharedFiles, computes

WAITING = [f"tests/integration/test_{number}.py" for number in range(6)]
COMPUTING = [f"tests/unit/test_{number}.py" for number in range(6)]


class RunningProcess:
    """What the scheduler knows of a process of pytest-xdist; it notes what it is asked to run."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.asked: list[int] = []
        self.done = 0

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.asked += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def shared_among(count: int, files: Sequence[str], waits: int = 1) -> list[list[str]]:
    """The files that each process has run, where a test that waits for servers takes so many turns."""
    config: Any = SimpleNamespace(getvalue=lambda _: ["popen"] * count, option=SimpleNamespace(loadscopereorder=False))
    tests = [f"{file}::test_{letter}" for file in files for letter in "abc"]
    processes: list[Any] = [RunningProcess(f"gw{number}") for number in range(count)]
    scheduler = SharedFiles(config, computes=lambda file: file in COMPUTING)
    for each in processes:
        scheduler.add_node(each)
    for each in processes:
        scheduler.add_node_collection(each, tests)
    scheduler.schedule()
    for turn in range(len(tests) * waits):
        for each in processes:
            if each.done < len(each.asked):
                test = each.asked[each.done]
                if turn % waits == 0 or tests[test].startswith("tests/unit/"):
                    each.done += 1
                    scheduler.mark_test_complete(each, test)
    assert scheduler.tests_finished
    assert not scheduler.has_pending
    assert all(each.shutting_down for each in processes)
    return [list(dict.fromkeys(tests[index].partition("::")[0] for index in each.asked)) for each in processes]


@pytest.mark.parametrize("waits", [1, 3])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_last_process_takes_files_that_compute_from_the_end_and_the_others_all_the_rest(
    count: int, waits: int
) -> None:
    *others, last = shared_among(count, WAITING + COMPUTING, waits)

    assert len(last) >= 2
    assert last == COMPUTING[::-1][: len(last)]
    assert sorted(file for each in others for file in each) == WAITING + COMPUTING[: len(COMPUTING) - len(last)]
    assert all(each == sorted(each) for each in others)


def test_the_last_process_passes_over_a_file_that_needs_servers() -> None:
    *others, last = shared_among(3, [*WAITING, COMPUTING[0], "tests/property/test_servers.py", COMPUTING[1]], waits=9)

    assert last == COMPUTING[1::-1]
    assert sorted(file for each in others for file in each) == [*WAITING, "tests/property/test_servers.py"]


def test_a_file_computes_if_none_of_its_tests_asks_for_servers() -> None:
    files = [str(path.relative_to(ROOT)) for path in ROOT.glob("tests/*/**/test_*.py") if path != Path(__file__)]
    asks = re.compile(r"^(async )?def \w+\([^)]*\b(servers|database_url)\b", re.MULTILINE)
    asking = {file for file in files if asks.search((ROOT / file).read_text())}
    assert len(asking) > 50
    assert any(file.startswith("tests/property/") for file in asking)
    assert not any(map(computes, asking))
    assert sum(map(computes, files)) > 300


def test_the_last_process_ends_early_rather_than_start_servers() -> None:
    *others, last = shared_among(3, WAITING + COMPUTING[:2], waits=9)

    assert last == COMPUTING[1::-1]
    assert sorted(file for each in others for file in each) == WAITING


def test_the_last_process_has_nothing_to_do_where_all_files_wait_for_servers() -> None:
    *others, last = shared_among(3, WAITING)

    assert last == []
    assert sorted(file for each in others for file in each) == WAITING


def test_one_process_alone_takes_all_in_their_order() -> None:
    assert shared_among(1, WAITING + COMPUTING) == [WAITING + COMPUTING]
