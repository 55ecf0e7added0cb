"""Every script of the table is run as it is, and what is found is what its header says."""

import sys
import warnings
from pathlib import Path

import pytest
import torch

from batchproof.watch import Program, run_watched

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))


def header(script):
    """The mistakes that the first line promises; none for a right script."""
    first = script.read_text().partition("\n")[0]
    if first == "# right":
        return set()
    kind, _, names = first.partition(": ")
    assert kind == "# expects", first
    return set(names.split(", "))


@pytest.fixture
def own_process(monkeypatch):
    """What a script changes of its process is set back after it."""
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_rng_state(state)
    torch.set_default_dtype(dtype)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_found_to_make_the_mistakes_that_it_makes(script, own_process):
    reports = []
    status = run_watched(Program(str(script)), reports.append)
    (report,) = reports
    assert set(report.names) == header(script), str(report)
    assert status == int(not report.ok)
