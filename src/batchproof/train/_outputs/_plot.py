"""Curves that are drawn during training: in a notebook, a window, or a PNG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchproof._errors import SettingError
from batchproof._files import write_file
from batchproof.runs import History, Record, over
from batchproof.train._outputs._callback import Callback
from batchproof.train._position import Position

CURVES = "curves.png"


class LivePlot(Callback):
    """Draws losses and metrics after every epoch, with bands of one standard error.

    In a notebook the picture is redrawn in its cell, on a screen in its window; elsewhere it is
    written as a PNG.

    Args:
        path: of the PNG; None writes it to the run folder, if there is one.

    Raises:
        SettingError: if matplotlib is not installed.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            import matplotlib as mpl  # noqa: PLC0415
            from matplotlib import figure  # noqa: PLC0415
        except ImportError:
            raise SettingError(
                "matplotlib is not installed; pip install 'batchproof[plot]'."
            ) from None
        self._path = path
        self._in_notebook = in_notebook()
        self._in_window = (
            not self._in_notebook
            and path is None
            and mpl.get_backend().lower() in map(str.lower, _interactive())
        )
        self._figure: Any = None if self._in_window else figure.Figure(figsize=(8, 3.4), dpi=120)
        self._handle: Any = None

    def on_epoch(self, position: Position, history: History) -> None:
        """Draw what is known so far."""
        del position
        if self._in_window and self._figure is None:
            from matplotlib import pyplot as plt  # noqa: PLC0415

            plt.ion()
            self._figure = plt.figure(figsize=(8, 3.4))
        draw_curves(self._figure, history)
        self._show(history)

    def _show(self, history: History) -> None:
        if self._in_notebook:
            self._show_in_notebook()
        elif self._in_window:
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()
        if self._path is not None:
            self._figure.savefig(self._path)
        elif history.run_dir is not None:
            # replaced whole, so that no link in a run folder is followed
            png = io.BytesIO()
            self._figure.savefig(png, format="png")
            write_file(history.run_dir / CURVES, png.getvalue(), through=False)

    def _show_in_notebook(self) -> None:
        from IPython.display import Image, display  # noqa: PLC0415

        # a notebook draws a figure itself only once pyplot's inline backend is loaded
        png = io.BytesIO()
        self._figure.savefig(png, format="png")
        picture = Image(png.getvalue())
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)


def draw_curves(figure: Any, history: History) -> None:
    """Draw losses on the left and metrics on the right of a matplotlib figure.

    Args:
        figure: is cleared first.
        history: what to draw.
    """
    whole = [r for r in history.records if r.span == "epoch" and r.unit != "step"]
    names = [name for name in dict.fromkeys(r.name for r in whole) if "/" not in name]
    losses = [name for name in names if name.endswith("_loss")]
    others = [name for name in names if name not in losses]
    axis = over(whole)
    figure.clear()
    panels = [panel for panel in (losses, others) if panel]
    for index, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), index)
        for name in panel:
            _curve(axes, name, history.epochs(name), axis)
        axes.set_xlabel(axis)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(frameon=False)
    figure.tight_layout()


def _curve(axes: Any, name: str, records: Sequence[Record], axis: str) -> None:
    places, values = [getattr(r, axis) for r in records], [r.value for r in records]
    style = "-" if name.startswith("val_") else "--"
    (line,) = axes.plot(places, values, style, marker=".", label=name)
    errors = [r.standard_error or 0.0 for r in records]
    if any(errors):
        low = [v - e for v, e in zip(values, errors, strict=True)]
        high = [v + e for v, e in zip(values, errors, strict=True)]
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    try:
        from IPython import get_ipython  # noqa: PLC0415
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


def _interactive() -> Sequence[str]:
    from matplotlib.backends import registry  # noqa: PLC0415

    backends: Any = registry.backend_registry
    return tuple(backends.list_builtin(registry.BackendFilter.INTERACTIVE))
