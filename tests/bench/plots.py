"""`make bench-plots`: draws the figures of bench.json as SVG files in docs/ (throughput, latency, cost of an event)."""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Results = Sequence[dict[str, Any]]
EVENTS, NOTIFICATIONS, THIRD = "#0969da", "#bc4c00", "#8250df"
STEPS = 20
"""Points on a curve; a run's samples are reduced to about this number."""
LONG = 5_000_000
"""The least events of a run that can show whether the cost grows."""


def main() -> None:
    """Draw all plots."""
    parser = argparse.ArgumentParser(prog="make bench-plots", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="written by `make bench` with --sweep")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="directory for the plots")
    options = parser.parse_args()
    plt.rcParams.update({"svg.hashsalt": "parade", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3})
    draw(json.loads(options.json.read_text())["cases"], options.out)


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw every plot for which there are results; returns the files."""
    sweep = [result for result in results if result["case"].startswith("sweep")]
    paced = [result for result in sweep if result["latency_ms"]]
    plots = (
        ("throughput", throughput, [result for result in sweep if not result["latency_ms"]]),
        ("latency", latency, paced),
        ("cost", cost, [result for result in results if result["events"] >= LONG and not result["latency_ms"]]),
    )
    written = []
    for name, plot, found in plots:
        if not found:
            continue
        figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
        plot(axes, found)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        written.append(directory / f"{name}.svg")
        figure.savefig(written[-1], facecolor="white", metadata={"Date": None})
        plt.close(figure)
    return written


def throughput(axes: Axes, results: Results) -> None:
    """Events and notifications per second against clients, on logarithmic axes."""
    clients = [result["clients"] for result in results]
    axes.loglog(clients, [r["events_per_s"] for r in results], "o-", color=EVENTS, label="events/s")
    axes.loglog(
        clients, [r["notifications_per_s"] for r in results], "s-", color=NOTIFICATIONS, label="notifications/s"
    )
    axes.set(xlabel="clients (of ten times as many users)", title="Throughput against clients")
    _readable(axes, (1,))
    axes.legend(frameon=False)


def latency(axes: Axes, results: Results) -> None:
    """Milliseconds from due time to arrival against the rate."""
    rates = [result["events_per_s"] for result in results]
    for name, mark, colour in (("p50", "o-", EVENTS), ("p90", "^-", THIRD), ("p99", "s-", NOTIFICATIONS)):
        axes.loglog(rates, [result["latency_ms"][name] for result in results], mark, color=colour, label=name)
    axes.set(xlabel="events/s, 20 a send, 100 clients", ylabel="ms", title="Latency against rate")
    _readable(axes, (1, 2, 5))
    axes.legend(frameon=False)


def cost(axes: Axes, results: Results) -> None:
    """CPU time per event against the number of earlier events."""
    for result, colour in zip(results, (EVENTS, NOTIFICATIONS, THIRD), strict=False):
        events, costs = zip(*us_per_event(result["samples"], result["events"]), strict=True)
        axes.plot([n / 1e6 for n in events], costs, "o-", ms=3, color=colour, label=result["case"])
    axes.set(xlabel="million events before it", ylabel="CPU µs of the whole system", title="Cost of an event", ylim=0)
    axes.legend(frameon=False)


def _readable(axes: Axes, marks: Sequence[float]) -> None:
    """Label both logarithmic axes with plain numbers, at these multiples of the powers of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=marks))
        axis.set_major_formatter(FuncFormatter(_short))
        axis.set_minor_formatter(NullFormatter())


def us_per_event(samples: Sequence[tuple[int, float]], events: int) -> list[tuple[int, float]]:
    """(events so far, CPU µs per event since the previous point), at about STEPS points."""
    # The set-up before the load has few events and includes the time that the clients take to connect.
    loaded = [sample for sample in samples if sample[0] > events / 1000]
    steps = pairwise(loaded[:: max(1, len(loaded) // STEPS)])
    # A step with hardly any events is mostly the time after the load.
    least = events / STEPS / 8
    return [(two[0], (two[1] - one[1]) / (two[0] - one[0]) * 1e6) for one, two in steps if two[0] - one[0] > least]


def _short(value: float, _: object = None) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


if __name__ == "__main__":
    main()
