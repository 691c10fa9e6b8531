"""Unpacks TimescaleDB on PostgreSQL 17 from Debian 13's packages into `.local/timescale`. Standard library only.

Debian 12 has no TimescaleDB. The packages of Debian 13 need a newer C library than the machine has, so that library is
unpacked too, and each program becomes a wrapper that starts it with the loader of that library.
"""

import re
import shutil
import subprocess
from pathlib import Path

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import Layout
from infra.local.problems import SetupProblem
from infra.local.timescale.apt import PrivateApt

SUITE = "trixie"
PACKAGE = "postgresql-17-timescaledb"
LAYOUT_VERSION = f"{SUITE} {PACKAGE} 1"  # raise the number when the unpacked files change
SERVER = Path("usr/lib/postgresql/17")
ZONES = Path("/usr/share/zoneinfo/UTC")

WANTED = re.compile(r"lib|postgresql-17|postgresql-client-17$|zlib1g")
# Only for JIT compilation (off here), Perl tools, PAM or an interactive set-up: 320 of 417 MB.
UNWANTED = re.compile(
    r".*-perl$|.*-common$|lib(perl|llvm|z3|c-bin|c-l10n|db5|gdbm|sepol|semanage|pam-modules|proc2|ncursesw|debconf)"
)
DROPPED = (  # documents, and debugger scripts in Python that our linters would check
    *("usr/share/" + name for name in ("doc", "man", "locale", "lintian", "bug", "gcc", "gdb")),
    "var",
    "etc",
)

WRAPPER = """#!/bin/sh
# Starts the program of this name with the loader and libraries that it was built for, whatever the path of this tree.
bin=$(dirname "$(readlink -f "$0")")
for libraries in "$bin"/../../../*-linux-gnu; do :; done
for loader in "$libraries"/ld-linux-*.so.*; do :; done
# --argv0: PostgreSQL looks for its other programs and its files beside the name it was called by.
exec "$loader" --library-path "$libraries" --argv0 "$bin/${0##*/}" "$bin/../libexec/${0##*/}" "$@"
"""


def install(layout: Layout) -> bool:
    """Installs the server if it is missing; true if it had to fetch it.

    Raises `SetupProblem` if the mirror does not answer or the server would not run; nothing is left in place then.
    """
    place = layout.programs / "timescale"
    if is_installed(place, LAYOUT_VERSION):
        return False
    with locked(layout.programs / "timescale.lock"):
        if is_installed(place, LAYOUT_VERSION):
            return False
        _require_host()
        with installing(place, LAYOUT_VERSION) as new:
            _fetch(new, layout.log("install-timescale"))
            _wrap_programs(new / SERVER)
            _check_libraries(new)
    return True


def bin_directory(layout: Layout) -> Path:
    """The directory of `psql`, `postgres` and the other programs."""
    return layout.programs / "timescale" / SERVER / "bin"


def _require_host() -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SetupProblem(
                f"{program} is missing: the local TimescaleDB comes from Debian's packages, on Debian only"
            )
    if not ZONES.exists():
        raise SetupProblem("PostgreSQL needs the time zone files: type `apt-get install tzdata` as root")


def _fetch(new: Path, log: Path) -> None:
    apt = PrivateApt(new / "apt", log)
    apt.update(SUITE)
    names = [name for name in apt.closure(PACKAGE) if WANTED.match(name) and not UNWANTED.match(name)]
    debs = new / "debs"
    apt.download(names, debs)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, new], log=log, failure=f"{deb.name} could not be unpacked", marks=("dpkg-deb:",))
    for name in ("apt", "debs", *DROPPED):
        shutil.rmtree(new / name, ignore_errors=True)
    library = new / SERVER / "lib"
    shutil.rmtree(library / "bitcode", ignore_errors=True)
    # Scripts that update an older extension: this cluster never had one.
    updates = (new / "usr/share/postgresql").rglob("timescaledb--*--*.sql")
    for file in [*library.glob("llvmjit*"), *updates]:
        file.unlink()


def _wrap_programs(server: Path) -> None:
    programs = server / "libexec"
    programs.mkdir()
    for program in sorted((server / "bin").iterdir()):
        with program.open("rb") as file:
            is_elf = file.read(4) == b"\x7fELF"
        if is_elf:
            program.rename(programs / program.name)
            program.write_text(WRAPPER)
            program.chmod(0o755)


def _check_libraries(new: Path) -> None:
    """Checks that every library that the server loads comes from the tree, and none is missing."""
    libraries = next((new / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    server = new / SERVER
    loaded = [server / "libexec" / name for name in ("postgres", "initdb", "psql", "pg_dump")]
    for file in [*loaded, *server.glob("lib/timescaledb*.so")]:
        listing = subprocess.run(
            [loader, "--library-path", libraries, "--list", file], capture_output=True, text=True, check=True
        ).stdout
        for line in listing.splitlines():
            if "not found" in line or ("=> /" in line and f"=> {libraries}/" not in line):
                raise SetupProblem(f"{file.name} needs a library that Debian's packages did not bring: {line.strip()}")
