"""The results of a recipe, and the table that shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from rich.console import Console

from batchproof.meter import Estimate
from batchproof.page import Table, printable, to_rich
from batchproof.train import History


@dataclass(frozen=True, slots=True)
class Results:
    """The result of a recipe's main.

    Attributes:
        history: the training's history, or None if a run was only evaluated.
        estimates: the means over the data sets that it was measured on, by name.
        data: the name of the data that was read.
    """

    history: History | None
    estimates: Mapping[str, Estimate]
    data: str = ""


def show(results: Results, console: Console) -> None:
    """Write one row for each data set and each group in it: loss, metrics, samples."""
    console.print(f"data: {printable(results.data)}", markup=False, highlight=False)
    rows = [row for name, estimate in results.estimates.items() for row in _rows(name, estimate)]
    metrics = list(dict.fromkeys(name for _, estimate in rows for name in estimate.metrics))
    lines = []
    for name, estimate in rows:
        cells = [_shown(estimate.metrics.get(metric)) for metric in metrics]
        samples = "" if estimate.samples is None else f"{estimate.samples:,}"
        lines.append((name, _shown(estimate), *cells, samples))
    console.print(to_rich(Table(("", "loss", *metrics, "samples"), tuple(lines))))


def _rows(name: str, estimate: Estimate) -> Iterator[tuple[str, Estimate]]:
    yield name, estimate
    for group, part in estimate.groups.items():
        metrics = {metric: of.groups[group] for metric, of in estimate.metrics.items() if of.groups}
        yield f"  {group}", replace(part, metrics=metrics)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.standard_error is None:
        return f"{estimate.value:.4f}"
    return f"{estimate.value:.4f} ± {estimate.standard_error:.4f}"
