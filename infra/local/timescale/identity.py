"""The user of the PostgreSQL process: PostgreSQL refuses to run as root, and set-up often runs as root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.problems import SetupProblem

NOBODY = "65534"
NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")


@dataclass(frozen=True, slots=True)
class Identity:
    """A prefix for the commands of PostgreSQL, and the owner of its files (None: the current user)."""

    prefix: tuple[str, ...] = ()
    owner: str | None = None

    @classmethod
    def choose(cls, data: Path) -> "Identity":
        """The current user, unless that is root.

        Root runs PostgreSQL as `nobody` in its own user namespace: files still belong to root and are reachable below
        /root. If the kernel refuses that, it becomes `postgres` or `nobody`; a cluster keeps the user who made it.
        """
        if os.geteuid() != 0:
            return cls()
        made_by = pwd.getpwuid(data.stat().st_uid).pw_name if data.exists() else "root"
        if made_by != "root":
            return cls._becoming(made_by)
        if _works((*NAMESPACE, "true")):
            return cls(NAMESPACE)
        return cls._becoming(_existing_user("postgres", "nobody"))

    @classmethod
    def _becoming(cls, user: str) -> "Identity":
        entry = pwd.getpwnam(user)
        words = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--")
        return cls(words, user)

    def own(self, directory: Path, programs: Path) -> None:
        """Gives an empty directory to the owner; raises `SetupProblem` if the owner cannot reach it or the programs."""
        if self.owner is None:
            return
        shutil.chown(directory, self.owner)
        for needed in (directory, programs):
            if not _works((*self.prefix, "test", "-x", str(needed))):
                raise SetupProblem(
                    f"PostgreSQL must not run as root, and user {self.owner} cannot reach {needed}: "
                    "move the project out of that directory, or work as an ordinary user"
                )


def _works(command: tuple[str, ...]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def _existing_user(*names: str) -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in names if name in known)
