"""Packages of npm that tests run as they are: installed when a test first needs them."""

import shutil
from pathlib import Path

import pytest

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem


def npm_package(name: str, version: str) -> Path:
    """The directory with `node_modules` in which this version is installed, without running its install scripts.

    Skips the test if node, npm or the registry is missing.
    """
    place = PROJECT_ROOT / ".local" / "npm" / name.replace("/", "-").removeprefix("@")
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{name} needs {' and '.join(missing)}: apt-get install nodejs npm")
    with locked(place.with_suffix(".lock")):
        if is_installed(place, version):
            return place
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
        failure = f"npm could not install {name}"
        try:
            with installing(place, version) as new:
                words = [*command, "--prefix", str(new), f"{name}@{version}"]
                run(words, log=place.with_suffix(".log"), failure=failure, marks=("npm error",))
        except SetupProblem as problem:
            pytest.skip(str(problem))
    return place
