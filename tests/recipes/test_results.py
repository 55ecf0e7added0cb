import io

import torch
from rich.console import Console

from batchproof import Mean, Meter
from batchproof.recipes import Results, show


def test_names_are_shown_as_they_are_and_drive_no_terminal():
    meter = Meter(by=("[/b]", "[red]country", "\x1b[31mtown"))
    meter.add(Mean(torch.ones(3), torch.ones(3)), by=torch.arange(3))
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    show(Results(None, {"[bold]test": meter.estimate()}, data="[/data]\x07"), console)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert told.replace("\n", "").isprintable()
    for name in ("data: [/data]", "[bold]test", "  [/b]", "  [red]country", r"  \x1b[31mtown"):
        assert name in told
