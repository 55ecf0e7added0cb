"""%%watch in a notebook's shell."""

import pytest

from batchproof import SettingError
from batchproof.integrations.ipython import options_of

IPython = pytest.importorskip("IPython")

CELL = """
import torch
from torch.nn import functional as F
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    losses = []
    for size in (4, 4, 1):
        loss = F.mse_loss(model(torch.randn(size, 2)), torch.zeros(size, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.6f}")
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # IPython warns where it is another one
    from IPython.core.interactiveshell import InteractiveShell

    made = InteractiveShell()
    made.history_manager.enabled = False
    made.run_line_magic("load_ext", "batchproof")
    yield made
    made.history_manager.end_session()


def test_a_cell_is_run_and_its_report_kept(shell, capsys):
    shell.run_cell_magic("watch", "seen", CELL)
    report = shell.user_ns["seen"]
    assert report.names == ("mean-of-batch-means",)
    assert shell.user_ns["epoch"] == 2
    assert "mean-of-batch-means" in capsys.readouterr().out
    assert report.findings[0].place.startswith("In[")
    assert "mean-of-batch-means" in report._repr_html_()


def test_a_cell_that_fails_shows_its_error_and_what_was_seen(shell, capsys):
    shell.run_cell_magic("watch", "", f"{CELL}\n1 / 0")
    out = capsys.readouterr().out
    assert "ZeroDivisionError" in out
    assert "mean-of-batch-means" in out


@pytest.mark.parametrize("line", ["--steps", "--steps x", "a b", "1x"])
def test_other_options_are_refused(line):
    with pytest.raises(SettingError, match=r"expected \[--steps N\] \[NAME\]"):
        options_of(line)
