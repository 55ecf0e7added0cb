"""`batchproof demo`: LeNet-5 on embedded digits, and the number that the usual loop would print."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from batchproof.meter import Estimate
    from batchproof.train import History

NAME = "demo"


def demo() -> None:
    """Train LeNet-5 on embedded digits, in seconds."""
    for module in ("torch", "sklearn"):
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
    typer.echo("LeNet-5 on the 1,797 handwritten digits of scikit-learn; loading torch ...")
    from batchproof.cli._bar import bar_on
    from batchproof.recipes import terminal, train_recipe
    from batchproof.runs import reserved

    console = terminal()
    with _one_thread(), reserved(NAME) as folder, bar_on(console) as progress:
        results = train_recipe("lenet5", folder, progress=progress)
    assert results.history is not None
    console.print("", _epochs(results.history), "")
    console.print(_beside(results.estimates), "")
    # a console breaks lines between words, where a terminal is narrow
    console.print(
        "The usual loop divides the sum of its batches' means by their number, so an image in the "
        "small last batch counts more than any other. batchproof divides once, by the images.\n"
    )
    typer.echo(f"run folder: {folder}")
    typer.echo(f"next: batchproof report {folder}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: images so few and small are no faster on more, and may be slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _epochs(history: "History") -> "RenderableType":
    best = None if history.best is None else history.best.epoch
    columns = [history.epochs(name) for name in ("train_loss", "val_loss", "val_accuracy")]
    rows = [
        (
            str(val.epoch),
            f"{train.value:.4f}",
            f"{val.value:.4f} ± {val.standard_error or 0:.4f}",
            f"{accuracy.value:.1%}",
            "best" if val.epoch == best else "",
        )
        for train, val, accuracy in zip(*columns, strict=True)
    ]
    return _table(("epoch", "train loss", "validation loss", "accuracy", ""), rows)


def _beside(estimates: "Mapping[str, Estimate]") -> "RenderableType":
    rows = []
    for name, estimate in estimates.items():
        usual = estimate.mean_of_batch_means
        off = usual / estimate.value - 1
        rows.append((name, f"{estimate.value:.4f}", f"{usual:.4f}", f"{off:+.1%}"))
    return _table(("", "exact loss", "the usual loop prints", "off by"), rows)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> "RenderableType":
    from batchproof.page import Table, to_rich

    return to_rich(Table(columns, tuple(rows)))
