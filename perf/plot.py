"""The plot of the sweeps: throughput and memory over users, rules and partitions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perf.results import Throughput

BLUE, RED = "#1f5f8b", "#a8452c"


def draw(sweeps: Mapping[str, Sequence[Throughput]], title: str, file: Path) -> None:
    """Writes the plot as PNG: a column for each sweep, with throughput above and memory below."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(2, len(sweeps), sharex="col", sharey="row", squeeze=False)
    for column, (name, points) in enumerate(sweeps.items()):
        values = [int(getattr(point, name)) for point in points]
        _line(axes[0, column], values, [(p.events_per_s or 0) / 1000 for p in points], BLUE)
        _line(axes[1, column], values, [p.peak_mib for p in points], RED)
        axes[1, column].set_xlabel(name)
        axes[1, column].set_xticks(values, [f"{value:,}" for value in values])
        axes[1, column].minorticks_off()
    axes[0, 0].set_ylabel("thousand events/s")
    axes[1, 0].set_ylabel("peak memory, MiB")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _line(axes: Axes, values: Sequence[int], measured: Sequence[float], colour: str) -> None:
    axes.plot(values, measured, marker="o", color=colour)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0, top=max(max(measured) * 1.2, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
    for value, what in zip(values, measured, strict=True):
        axes.annotate(f"{what:,.0f}", (value, what), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
