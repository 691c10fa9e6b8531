"""The data of test servers, in memory: a database is 700 small files and the topics are as many again, and to make and
remove them on a disk takes most of the time of many tests.
"""

import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  # what is made there has a name that nobody can foresee
ROOM_BYTES = 3 << 30
"""All servers of a whole run take less than 1 GiB."""


def new_data(data: Path) -> None:
    """Makes the folder `data` anew: a link to one in memory, or, where this machine has no room there, on the disk."""
    forget_data(data)
    data.parent.mkdir(parents=True, exist_ok=True)
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        place = Path(tempfile.mkdtemp(prefix="ebbtide-test-", dir=MEMORY))
        place.chmod(0o755)  # PostgreSQL may run as another user
        data.symlink_to(place)
    else:
        data.mkdir()


def forget_data(data: Path) -> None:
    """Removes the folder, wherever it is."""
    shutil.rmtree(data.resolve(), ignore_errors=True)
    data.unlink(missing_ok=True)
