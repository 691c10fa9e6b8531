"""`ebbtide import`: profiles from a file, by the million."""

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.auditing import audited
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, login, print_json
from cli.step_printer import ProgressStep, StepPrinter, duration_text

if TYPE_CHECKING:
    from cli.operations.import_files import FileRow, ProfileFile
    from cli.operations.import_rows import Columns
    from web.profiles.importer import ImportProgress, ImportRow, ProfileImport, RefusedRow

PANEL = "Profiles"
EXIT_INTERRUPTED = 130
SHOWN = 5
"""How many refused rows a person sees; the file has them all."""


def import_profiles(
    file: Annotated[Path, typer.Argument(help="A .csv, .jsonl or .parquet file.", dir_okay=False, exists=True)],
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=TARGET", help="What becomes of a column; repeatable."),
    ] = None,
    source: Annotated[str, typer.Option(help="Kept with each value as where it came from.")] = "import",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check each row; change no profile.")] = False,
    as_json: AsJson = False,
    instance: Instance = "main",
) -> None:
    """Import profiles from a file. Values that are known of later stay as they are.

    A column keeps its name, as a field (user_id, address, zone, locale, time), as consent.PURPOSE.granted (.time,
    .method, .text_version), or else as an attribute. `--map` names another target: email=address, age=age:number (or
    :boolean, :json), and `note=` leaves a column out. Refused rows stand in FILE.refused.csv. Interrupted, the same
    command goes on where it stopped. Exits with 1 if rows are refused.

    Example: `ebbtide import customers.csv --map email=address --map id=user_id --dry-run`
    """
    from cli.operations.import_files import profile_file
    from cli.operations.import_rows import Columns, ImportProblem

    if not source or len(source) > 256:
        raise ImportProblem("--source: 1 to 256 characters")
    columns = Columns(maps or [])
    with profile_file(file) as opened:
        if opened.columns is not None:
            columns.check(opened.columns)
            for line in [] if as_json else columns.shown(opened.columns):
                console.print(line, markup=False)
        run = _ImportRun(file, columns, source, opened)
        stopped = run.check() if dry_run else _written(run, Environment.of(instance))
    _report(run, dry_run, stopped, as_json)


def _written(run: "_ImportRun", environment: Environment) -> bool:
    """Writes each row, with a line of the audit before and after it; returns whether it was interrupted."""
    who, subject = login() or "unknown", f"import {run.id}"
    with audited(environment, who, "import", subject, None, {"file": run.file.name, "source": run.source}):
        stopped = run.write(environment)
    counts = {"rows": run.progress.rows, "changed": run.progress.changed, "refused": run.progress.refused}
    what = "import stopped" if stopped else "import finished"
    with audited(environment, who, what, subject, {"rows": run.before}, counts):
        return stopped


class _ImportRun:
    """One run of an import: its rows, its progress and the file of refused rows."""

    def __init__(self, file: Path, columns: "Columns", source: str, opened: "ProfileFile") -> None:
        from web.profiles.importer import ImportProgress

        self.file, self.columns, self.source, self.opened = file, columns, source, opened
        self.id = _id_of(file, columns, source)
        self.refused = _RefusedRows(file)
        self.progress = ImportProgress(time_us=time.time_ns() // 1_000)
        self.before = 0
        """How many rows were done before this run."""
        self._share_before = 0.0
        self.began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def rows_per_s(self) -> float:
        return (self.progress.rows - self.before) / max(self.seconds, 1e-6)

    def check(self) -> bool:
        """Check each row; returns whether that was interrupted."""
        from web.profiles.importer import checked

        def check(rows: "Sequence[ImportRow]") -> None:
            _, refused = checked(rows, time.time_ns() // 1_000)
            self.refused.note(refused)
            before = self.progress
            self.progress = before._replace(
                rows=before.rows + len(rows), line=rows[-1].line, refused=before.refused + len(refused)
            )

        self.refused.keep_until(0)
        return self._each_batch(check)

    def write(self, environment: Environment) -> bool:
        """Write each row; returns whether that was interrupted."""
        import psycopg

        from cli.operations.import_rows import ImportProblem
        from infra.postgres.database import IDLE_IN_TRANSACTION_S, idle_option
        from infra.postgres.migrate import require_migrated
        from schemas.people import PersonHasher
        from web.profiles.importer import ImportBusy, ProfileImport

        options = f"-c timezone=UTC {idle_option(IDLE_IN_TRANSACTION_S)}"
        with (
            require_migrated(),
            closing(psycopg.connect(environment.ledger_url, autocommit=True, options=options)) as connection,
        ):
            importing = ProfileImport(connection, self.id, PersonHasher(environment.erasure_key.encode()))
            try:
                self.progress = importing.begin(self.file.name, self.source, self.progress.time_us)
            except ImportBusy:
                raise ImportProblem(f"{self.file}: another process imports it now") from None
            self.before = self.progress.rows
            if self.progress.finished:
                return False
            return self._write_rows(importing)

    def _write_rows(self, importing: "ProfileImport") -> bool:
        self.refused.keep_until(self.progress.line)
        next(islice(self.opened.rows, self.progress.rows, self.progress.rows), None)
        self._share_before = self.opened.share() if self.progress.rows else 0.0

        def write(rows: "Sequence[ImportRow]") -> None:
            self.progress = importing.write(rows, time.time_ns() // 1_000, self.refused.note)

        if self._each_batch(write):
            return True
        importing.finish()
        self.progress = importing.progress
        return False

    def _each_batch(self, work: Any) -> bool:
        """Do the work for each batch; returns whether it was interrupted. A batch is done or not, never half."""
        from web.profiles.importer import BATCH

        printer = StepPrinter(Console(stderr=True))
        try:
            with printer.step(f"{self.file.name}", None) as step:
                while rows := [self._row(each) for each in islice(self.opened.rows, BATCH)]:
                    work(rows)
                    self._tell(step)
        except KeyboardInterrupt:
            return True
        return False

    def _row(self, row: "FileRow") -> "ImportRow":
        from cli.operations.import_rows import patch_row
        from web.profiles.importer import ImportRow

        if row.values is None:
            return ImportRow(row.line, None, row.reason)
        return patch_row(row.line, row.values, self.columns, self.source, self.progress.time_us)

    def _tell(self, step: ProgressStep) -> None:
        share, done = self.opened.share(), self.opened.share() - self._share_before
        left = f", {duration_text(self.seconds * (1 - share) / done)} left" if done > 0 else ""
        step.at(self.progress.rows, f"{self.progress.rows:,} rows, {self.rows_per_s:,.0f}/s{left}")


class _RefusedRows:
    """The file of refused rows: made with the first one."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(f"{file.name}.refused.csv")
        self.first: list[RefusedRow] = []
        self._begun = False

    def keep_until(self, line: int) -> None:
        """Keep what an earlier run noted up to this line. What follows was not done, and is noted again."""
        if line == 0:
            self.path.unlink(missing_ok=True)
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            kept = [row for row in islice(csv.reader(file), 1, None) if row and int(row[0]) <= line]
        with self._opened() as file:
            csv.writer(file).writerows(kept)

    def note(self, refused: "Sequence[RefusedRow]") -> None:
        """Add rows."""
        if refused:
            self.first += refused[: SHOWN - len(self.first)]
            with self._opened() as file:
                csv.writer(file).writerows(refused)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        with self.path.open("a" if self._begun else "w", newline="") as file:
            if not self._begun:
                csv.writer(file).writerow(("line", "reason"))
                self._begun = True
            yield file


def _id_of(file: Path, columns: "Columns", source: str) -> str:
    """The same for the same content that is read in the same way."""
    hashed = blake2b(repr((columns.key, source, file.suffix)).encode(), digest_size=16)
    with file.open("rb") as content:
        while part := content.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


def _report(run: _ImportRun, dry_run: bool, stopped: bool, as_json: bool) -> None:
    progress = run.progress
    if as_json:
        print_json(_summary(run, dry_run, stopped))
    else:
        for line in _lines(run, dry_run, stopped):
            console.print(line, markup=False, soft_wrap=True)
    if stopped:
        raise typer.Exit(EXIT_INTERRUPTED)
    if progress.refused:
        raise typer.Exit(EXIT_FAILED)


def _summary(run: _ImportRun, dry_run: bool, stopped: bool) -> dict[str, Any]:
    progress: ImportProgress = run.progress
    return {
        "import": run.id,
        "file": str(run.file),
        "dry_run": dry_run,
        "finished": not stopped,
        "rows": progress.rows,
        "rows_before": run.before,
        "changed": None if dry_run else progress.changed,
        "refused": progress.refused,
        "refused_file": str(run.refused.path) if progress.refused else None,
        "seconds": round(run.seconds, 3),
        "rows_per_s": round(run.rows_per_s),
    }


def _lines(run: _ImportRun, dry_run: bool, stopped: bool) -> Iterator[str]:
    progress = run.progress
    if run.before and progress.rows == run.before and progress.finished:
        yield f"{run.file}: imported already, as {run.id}"
    done = "checked" if dry_run else f"imported, {progress.changed:,} profiles changed"
    yield f"{progress.rows:,} rows {done}, {progress.refused:,} refused ({run.rows_per_s:,.0f} rows/s)"
    for row in run.refused.first:
        yield f"  line {row.line}: {row.reason}"
    if progress.refused:
        yield f"  all of them: {run.refused.path}"
    if stopped:
        yield f"stopped behind line {progress.line:,}; the same command goes on there"


COMMANDS = {"import": import_profiles}
