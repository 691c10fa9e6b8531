"""A private apt: the system's mirror, proxy and keyring, with its own lists, cache and status.

It downloads packages of another Debian release without touching the system's apt, and needs no root.
Standard library only.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.fetching import run
from infra.local.problems import SetupProblem

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt")
UNREACHABLE = (
    "Debian's packages could not be fetched: check the network and the mirror in /etc/apt/sources.list*, "
    "and run the same command again"
)
MARKS = ("E: ", "Err:", "W: ")


def uris(text: str) -> list[str]:
    """The mirrors in a sources file, in order, in deb822 style or one per line (sources.list(5))."""
    found: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"URIs:\s*(.+)", line):
            found += match[1].split()
        elif match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s", line):
            found.append(match[1])
    return found


def debian_mirror(sources: Path = SOURCES) -> str:
    """The Debian mirror that this machine uses: the first whose path ends in `/debian`."""
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in {".list", ".sources"} and file.is_file():
            for uri in uris(file.read_text()):
                if uri.rstrip("/").endswith("/debian"):
                    return uri
    raise SetupProblem(f"no Debian mirror in {sources}/sources.list*: add one such as http://deb.debian.org/debian")


def package_names(print_uris: str) -> list[str]:
    """The package names in what `apt-get install --print-uris` prints: `'URI' NAME_VERSION_ARCH.deb SIZE HASH`."""
    return [match[1] for match in re.finditer(r"^'[^']*' ([^_\s]+)_\S+\.deb ", print_uris, re.MULTILINE)]


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """apt in its own directory. Its output goes to `log`."""

    place: Path
    log: Path

    @property
    def _environment(self) -> dict[str, str]:
        return {"APT_CONFIG": str(self.place / "apt.conf"), "LC_ALL": "C.UTF-8"}

    def update(self, suite: str) -> None:
        """Configures apt for `suite` and fetches its package lists."""
        if not KEYRING.is_file():
            raise SetupProblem(f"{KEYRING} is missing: type `apt-get install debian-archive-keyring` as root")
        for directory in ("lists/partial", "cache/archives/partial"):
            (self.place / directory).mkdir(parents=True)
        (self.place / "status").touch()
        (self.place / "sources.list").write_text(f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} main\n")
        (self.place / "apt.conf").write_text(_system_acquire() + self._own_settings())
        run(["apt-get", "-q", "update"], log=self.log, failure=UNREACHABLE, marks=MARKS, environment=self._environment)

    def closure(self, package: str) -> list[str]:
        """The names of the package and of all its dependencies."""
        listing = self.place / "closure"
        run(
            ["apt-get", "-qq", "install", "--print-uris", package],
            log=listing,
            failure=f"apt cannot resolve {package}",
            marks=MARKS,
            environment=self._environment,
        )
        return package_names(listing.read_text())

    def download(self, names: list[str], into: Path) -> None:
        """Downloads the .deb files of the packages; apt checks their hashes against the signed lists."""
        into.mkdir(parents=True)
        run(
            ["apt-get", "-q", "download", *names],
            log=self.log,
            failure=UNREACHABLE,
            marks=MARKS,
            environment=self._environment,
            directory=into,
        )

    def _own_settings(self) -> str:
        """Reads no file of the system's configuration: one of its hooks empties /var/cache/apt after each update."""
        none, place = '"/dev/null"', self.place
        return f"""
Dir::Etc::Main {none}; Dir::Etc::Parts {none};
Dir::Etc::SourceList "{place}/sources.list"; Dir::Etc::SourceParts {none};
Dir::Etc::Preferences {none}; Dir::Etc::PreferencesParts {none};
Dir::State "{place}"; Dir::State::Lists "{place}/lists"; Dir::State::Status "{place}/status";
Dir::Cache "{place}/cache"; Dir::Log "{place}";
Acquire::Languages "none"; Acquire::Retries "2"; Acquire::http::Timeout "20"; Acquire::https::Timeout "20";
APT::Install-Recommends "false"; APT::Sandbox::User ""; APT::Update::Error-Mode "any";
"""


def _system_acquire() -> str:
    """How the system's apt reaches its mirror, for example through a proxy."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    acquire_lines = (
        line
        for line in dump.splitlines()
        if line.startswith("Acquire::") and not line.startswith(("Acquire::IndexTargets", "Acquire::Languages"))
    )
    return "\n".join(acquire_lines) + "\n"
