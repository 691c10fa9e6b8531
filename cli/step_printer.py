"""The progress of long commands: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_EVERY_S = 5.0
"""How often a long step reports its progress without a terminal."""


class ProgressStep:
    """One step in progress; `at` moves its bar."""

    def __init__(self, console: Console, title: str, total: int | None) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._said_at = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = [TextColumn("  {task.description}"), BarColumn(bar_width=30), TimeElapsedColumn()]
            if total:
                columns.insert(2, MofNCompleteColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(title, total=total)

    def at(self, done: int, note: str = "") -> None:
        """Shows how much of the total is done, and `note` beside it."""
        if self._bar is not None:
            label = f"{self._title} {note}".strip()
            self._bar.update(self._task, completed=done, description=label)
        elif time.monotonic() - self._said_at >= PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            progress = f"{done:,} of {self._total:,}" if self._total else ""
            self._console.print(f"    … {progress} {note}".rstrip(), highlight=False)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()


def time_left(done: int, total: int | None, began: float) -> str:
    """How long the rest will take, as `2 min 5 s left`; empty if that cannot be known. It is taken to go on as since
    `began`, a reading of the monotonic clock."""
    if not total or not done:
        return ""
    return f"{duration_text((time.monotonic() - began) * max(0, total - done) / done)} left"


def duration_text(seconds: float) -> str:
    """A duration in whole seconds, as `2 h 5 min`, `5 min 3 s` or `3 s`."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


class StepPrinter:
    """Prints each step when it ends, and how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[ProgressStep]:
        """Times the block, and prints its title and its seconds at the end."""
        started = time.monotonic()
        step = ProgressStep(self.console, title, total)
        try:
            yield step
        finally:
            step.close()
        took = time.monotonic() - started
        self.console.print(f"[green]✓[/] {title} [dim]({took:.1f} s)[/]", highlight=False)

    def say(self, text: str = "") -> None:
        """Prints one line."""
        self.console.print(text, highlight=False)
