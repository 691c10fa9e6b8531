"""Building a peer into `.local/peers`: its jars through Maven, its classes by javac, again when a source changes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import Layout
from infra.local.maven import copy_jars, require

RELEASE = "17"
JDK_MISSING = "A JDK 17 is missing: type `apt-get install openjdk-17-jdk-headless` as root"


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer: a folder with a `pom.xml` and Java sources, beside the sources that the peers share."""

    name: str
    home: Path
    main: str
    """The class with its `main`."""

    @property
    def folder(self) -> str:
        """What its files in `.local` are called."""
        return self.home.name

    @property
    def pom(self) -> Path:
        """What it depends on."""
        return self.home / "pom.xml"

    @property
    def sources(self) -> list[Path]:
        """Those that it shares, and its own."""
        return [*sorted(self.home.parent.glob("*.java")), *sorted(self.home.glob("*.java"))]


@dataclass(frozen=True, slots=True)
class Build:
    """A peer that is built."""

    jars: Path
    classes: Path

    @property
    def classpath(self) -> str:
        """For `java -cp`."""
        return f"{self.classes}:{self.jars}/*"

    def version(self, artifact: str) -> str:
        """The version of one of its jars."""
        return next(jar.stem.removeprefix(f"{artifact}-") for jar in self.jars.glob(f"{artifact}-[0-9]*.jar"))


def build(peer: Peer, layout: Layout) -> Build:
    """Has the peer built. Raises `SetupProblem` where Maven or a JDK is missing, or a source is wrong."""
    home = layout.programs / "peers" / peer.folder
    found = Build(home / "jars", home / "classes")
    with locked(layout.programs / "peers" / f"{peer.folder}.lock"):
        _fetch(peer, found, layout)
        _compile(peer, found, layout)
    return found


def _fetch(peer: Peer, found: Build, layout: Layout) -> None:
    version = digest([peer.pom])
    if not is_installed(found.jars, version):
        with installing(found.jars, version) as new:
            copy_jars(f"{peer.name}'s", peer.pom, new, layout.log(f"install-{peer.folder}"))


def _compile(peer: Peer, found: Build, layout: Layout) -> None:
    version = digest([peer.pom, *peer.sources])
    if is_installed(found.classes, version):
        return
    javac = require("javac", JDK_MISSING)
    log = layout.log(f"compile-{peer.folder}")
    with installing(found.classes, version) as new:
        run(
            [javac, "--release", RELEASE, "-Xlint:all,-processing", "-cp", f"{found.jars}/*", "-d", new, *peer.sources],
            log=log,
            failure=f"javac could not compile the job for {peer.name}",
            marks=(str(peer.home.parent),),
        )


def digest(files: Iterable[Path]) -> str:
    """What the files say, as a hash."""
    together = hashlib.sha256()
    for file in files:
        together.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return together.hexdigest()
