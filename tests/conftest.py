"""Fixtures that more than one test file uses. What stands behind them is in modules beside this one."""

import gc
import os
import random
import signal
import sys
import uuid
from collections.abc import Generator, Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest
import typer.testing
from drivers.examples import QUICK, THOROUGH
from drivers.open_clients import require_no_open_clients
from drivers.real_servers import RealServers, real_servers, stop_abandoned_servers
from drivers.shared_files import NICENESS, SharedFiles, computing_process
from hypothesis import settings

from infra.local.problems import SetupProblem

# A shell starts what runs in the background so that it ignores Ctrl-C, and all that is started here would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Hundreds of processes are started here; where an image of the machine forbids bytecode, each would compile all anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# And a dozen brokers, none of which lives for long: the thorough compiler costs each a second, and gives nothing back.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# Else Typer's runner would make the tree of commands anew for each call, from the signatures of all commands.
typer.testing._get_command = cache(typer.testing._get_command)

# `derandomize`, which Hypothesis sets where CI is set, would win over the seed, and so choose by the text of each test.
settings.register_profile("quick", max_examples=QUICK, deadline=None, derandomize=False)
settings.register_profile("thorough", max_examples=THOROUGH, deadline=None, derandomize=False)
settings.load_profile("quick")  # --hypothesis-profile=thorough, which `make test-all` gives, comes later and wins


SEEDED = pytest.StashKey[bool]()
"""Whether a seed was given. Processes of pytest-xdist get that of the run."""
PACKAGES = ("schemas", "triggers", "streams", "senders", "web", "infra", "cli")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads the option
def pytest_configure(config: pytest.Config) -> None:
    """Gives property tests a fresh seed at each run, unless `--hypothesis-seed` names one."""
    config.stash[SEEDED] = config.getoption("hypothesis_seed", None) is not None
    if not config.stash[SEEDED]:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Hides from the garbage collector what collection makes: it lasts, and each full collection would read it anew."""
    gc.disable()
    try:
        return (yield)
    finally:
        if session.config.stash[SEEDED]:
            _import_all()
        gc.freeze()
        gc.enable()
        if getattr(session.config, "workerinput", {}).get("computes"):
            os.nice(NICENESS)  # not before: the others wait until all have collected


def _import_all() -> None:
    """Imports every module of the project. Hypothesis draws from the constants of those that are imported: with one
    seed, a property would meet other examples if a test before it in its process had imported more.
    """
    for package in PACKAGES:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist knows it, and need not be loaded
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFiles | None:
    """Has files that compute run beside those that wait for servers."""
    return SharedFiles(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells the process that computes that it is the one."""
    last = computing_process(len(node.nodemanager.specs))
    if node.config.getoption("dist") == "loadfile" and node.gateway.id == last:
        node.workerinput["computes"] = True


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what the processes of pytest-xdist left when they were interrupted."""
    if getattr(config.option, "numprocesses", None):
        stop_abandoned_servers()


def pytest_report_header(config: pytest.Config) -> str:
    """Says how to run the same examples again."""
    return f"random choices: repeat this run with --hypothesis-seed={config.getoption('hypothesis_seed')}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run, for tests that choose at random by themselves."""
    return int(request.config.getoption("hypothesis_seed"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Lets go of a test's arguments before its module ends: else they would still hold clients then."""
    if isinstance(item, pytest.Function):
        item.funcargs.clear()


@pytest.fixture(scope="module", autouse=True)
def _no_open_clients(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the last test of a module that leaves a Kafka client open."""
    yield
    if request.node.get_closest_marker("servers"):
        _require_no_open_clients(request)


def _require_no_open_clients(request: pytest.FixtureRequest) -> None:
    if not request.session.testsfailed:  # else the traceback of the failure may keep clients
        require_no_open_clients()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[RealServers]:
    """Real Kafka and TimescaleDB on the test ports (port base + 500). For tests marked `servers`."""
    try:
        with real_servers() as running:
            yield running
            _require_no_open_clients(request)
    except SetupProblem as problem:
        pytest.exit(f"the test servers cannot start: {problem}", returncode=problem.exit_status)


@pytest.fixture
def database_url(servers: RealServers) -> Iterator[str]:
    """A database of the test's own, migrated."""
    url = servers.create_database()
    yield url
    servers.drop_database(url)


@pytest.fixture
def empty_database_url(servers: RealServers) -> Iterator[str]:
    """A database of the test's own, empty but for the extension timescaledb."""
    url = servers.create_database(empty=True)
    yield url
    servers.drop_database(url)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that makes topic and group names the test's own."""
    return f"test-{uuid.uuid4().hex[:12]}-"
