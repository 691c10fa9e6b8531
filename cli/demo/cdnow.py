"""The CDNOW purchase log: 69,659 purchases by 23,570 customers, January 1997 to June 1998.

Source: Fader and Hardie, as packed in the PyPI wheel `lifetimes` (MIT). Only the data file is extracted from the wheel.
The log has dates without a time of day, and 255 repeated rows, so ids come from row numbers.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schemas.errors import UserError
from schemas.events import Event

WHEEL = "lifetimes==0.11.3"
WHEEL_SHA256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
MEMBER = "lifetimes/datasets/CDNOW_master.txt"
ROWS = 69_659
CUSTOMERS = 23_570


class DataMissing(UserError):
    """The wheel could not be fetched, or its content is not the expected one."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """One row of the log."""

    row: int
    customer: str
    time: datetime
    quantity: int
    total: float

    def event(self, shift: timedelta = timedelta(0)) -> Event:
        """The purchase as an `order_completed` event, `shift` later than it was."""
        order = f"cdnow-{self.row:05d}"
        return Event(
            id=order,
            type="order_completed",
            user_id=self.customer,
            time=self.time + shift,
            properties={"order_id": order, "total": self.total, "quantity": self.quantity},
            source="cdnow",
        )


def fetch(folder: Path) -> Path:
    """Returns the data file, fetched into `folder` once; raises DataMissing with what to do."""
    target = folder / "CDNOW_master.txt"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "lifetimes.txt"
    pins.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(pins), "-d", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataMissing(f"cannot fetch the wheel {WHEEL} from the package registry: {last}")
    wheel = next(folder.glob("[Ll]ifetimes-*.whl"))
    part = target.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive:
        part.write_bytes(archive.read(MEMBER))
    part.rename(target)
    wheel.unlink()
    return target


def read(path: Path) -> list[Purchase]:
    """Every purchase of the file, in file order; raises DataMissing if the file is not the expected one."""
    lines = path.read_text(encoding="ascii").splitlines()[1:]
    purchases = [_purchase(row, line) for row, line in enumerate(lines, 1)]
    customers = len({p.customer for p in purchases})
    if (len(purchases), customers) != (ROWS, CUSTOMERS):
        found = f"{len(purchases):,} rows by {customers:,} customers"
        raise DataMissing(f"{path}: {found}; expected {ROWS:,} by {CUSTOMERS:,}. Delete it and run again")
    return purchases


def _purchase(row: int, line: str) -> Purchase:
    customer, date, quantity, total = line.split()
    day = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    # The log has no time of day: the row number gives one between 08:00 and 20:00.
    digest = hashlib.blake2b(str(row).encode(), digest_size=4).digest()
    time = day + timedelta(hours=8, seconds=int.from_bytes(digest, "big") % (12 * 3600))
    return Purchase(row, f"customer-{customer}", time, int(quantity), float(total))
