"""Evaluations whose callers are out of sight: what the rest of a file says decides their grade."""

import pytest

from batchproof.audit import audit_text
from batchproof.audit._settings import Settings

_EVALUATION = '''
import torch


def evaluate(loader, model, device):
    """Return the mean loss."""
    model.eval()
    total = 0
    for data in loader:
        _, loss = model(data.to(device))
        total += loss.item() * len(data)
    return total / len(loader.dataset)
'''


def _grades(text, folder):
    report = audit_text(folder / "engine.py", text, Settings(folder, likely=True))
    return [f.finding.grade for f in report.findings if f.finding.name == "evaluation-with-grad"]


def test_a_file_that_never_switches_autograd_is_surely_wrong(tmp_path):
    assert _grades(_EVALUATION, tmp_path) == ["sure"]


@pytest.mark.parametrize(
    "rest",
    [
        "def run(loader, model):\n    with torch.no_grad():\n        print(evaluate(loader, model, 0))\n",
        "def attack(loss, x):\n    return torch.autograd.grad(loss, x)\n",
    ],
)
def test_a_file_that_switches_autograd_may_do_so_around_it(tmp_path, rest):
    assert _grades(f"{_EVALUATION}\n\n{rest}", tmp_path) in ([], ["likely"])
