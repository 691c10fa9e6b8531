"""Programs from Debian's packages as counterparts of tests: unpacked once into `.local`, without root."""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.problems import SetupProblem
from infra.local.timescale.apt import PrivateApt

PLACE = Path(__file__).parents[2] / ".local" / "counterparts"


@dataclass(frozen=True)
class DebianProgram:
    """How to start a program: its file, and the variables that it needs."""

    file: Path
    environment: dict[str, str]


def debian_program(name: str, package: str, libraries: tuple[str, ...]) -> DebianProgram:
    """The system's program, or that of the package, with its libraries' packages. Skips where neither can be had."""
    installed = shutil.which(name)
    if installed is not None:
        return DebianProgram(Path(installed), {})
    place = (PLACE / package).absolute()
    try:
        with locked(PLACE / f"{package}.lock"):
            if not is_installed(place, "1"):
                with installing(place, "1") as new:
                    _unpack(new, [package, *libraries])
    except (SetupProblem, OSError) as problem:
        pytest.skip(f"{name} is missing, and Debian's package {package} cannot be had: {problem}")
    file = next(found for found in place.rglob(name) if found.is_file() and found.parent.name in ("bin", "sbin"))
    return DebianProgram(file, {"LD_LIBRARY_PATH": ":".join(map(str, (place / "usr/lib").glob("*-linux-gnu")))})


def _unpack(new: Path, packages: list[str]) -> None:
    log = PLACE / "install.log"
    apt = PrivateApt(new / "apt", log)
    apt.update(platform.freedesktop_os_release()["VERSION_CODENAME"])
    apt.download(packages, new / "debs")
    for deb in sorted((new / "debs").glob("*.deb")):
        run(["dpkg-deb", "-x", deb, new], log=log, failure=f"{deb.name} could not be unpacked", marks=("dpkg-deb:",))
    for done in ("apt", "debs"):
        shutil.rmtree(new / done)
