"""The Spark session of a backtest, and what goes wrong in Spark as lines for people."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from cli.backtest.job import BacktestProblem
from cli.rules.log_blocks import BadLog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LACKING = re.compile(r"No module named '(\S+)'")
_PACKAGES = ("pyspark", "pandas", "pyarrow")
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",  # columns of a file may differ in case alone
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",  # a line may have 1 MB
    "spark.sql.execution.arrow.maxBytesPerBatch": "67108864",
}


def require_packages() -> None:
    """Raises BacktestProblem if a package is missing."""
    for name in _PACKAGES:
        try:
            import_module(name)
        except ImportError:
            raise BacktestProblem(f"--engine spark needs the package {name}: pip install 'ebbtide[spark]'") from None


@contextmanager
def spark_session() -> Iterator["SparkSession"]:
    """A session with settings of its own: of the Spark that runs already, as under spark-submit, or of one that begins
    by its own configuration and ends with the block. Raises BacktestProblem."""
    from pyspark import SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else whatever python3 is first in PATH
    is_running = SparkContext._active_spark_context is not None
    builder = SparkSession.builder.appName("ebbtide backtest").config("spark.ui.showConsoleProgress", "false")
    try:
        running = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise BacktestProblem(
            f"--engine spark: no Spark ({_first_line(error)}); it needs Java 17 or newer, in PATH or JAVA_HOME"
        ) from None
    try:
        session = running.newSession()
        for name, value in _SETTINGS.items():
            session.conf.set(name, value)
        # Splits are known by where they start, so they must be the same each time, whatever executors come and go.
        session.conf.set("spark.sql.files.minPartitionNum", str(session.sparkContext.defaultParallelism))
        yield session
    finally:
        if not is_running:
            running.stop()


@contextmanager
def failures_to_read(place: str) -> Iterator[None]:
    """Within the block, what Spark says of a place that it cannot read is BadLog."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException, PythonException

    try:
        yield
    except PythonException as error:
        lacking = _LACKING.search(str(error))
        if lacking is None:
            raise  # a defect
        raise BacktestProblem(
            f"--engine spark: the Python of Spark's executors has no module {lacking[1]}; install ebbtide[spark] there,"
            " or name another Python by PYSPARK_PYTHON"
        ) from None
    except Py4JJavaError as error:
        raise BadLog(f"{place}: Spark cannot read it: {_cause(error.java_exception)}") from error
    except PySparkException as error:
        raise BadLog(f"{place}: Spark cannot read it: {_first_line(error)}") from error


def _cause(thrown: object) -> str:
    """The message of the innermost cause of a Java exception."""
    while (cause := thrown.getCause()) is not None:  # type: ignore[attr-defined]
        thrown = cause
    return _first_line(thrown.toString())  # type: ignore[attr-defined]


def _first_line(message: object) -> str:
    return (str(message).strip().splitlines() or ["no reason given"])[0][:200]
