"""A training in a notebook shows one table that grows and one bar, executed by a real kernel."""

import re
import sys

import pytest

from batchproof.train import Position, Record
from batchproof.train._outputs import _notebook

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CODE = """
import sys
sys.path[:0] = {path!r}
from small_runs import batches, trainer
history = trainer(progress=True, validate_every_steps=3, summary=True).fit(
    batches(40), batches(9), max_epochs=2
)
"""


def test_one_display_holds_a_row_a_pass_and_no_bar_when_training_is_over():
    cell = nbformat.v4.new_code_cell(CODE.format(path=[p for p in sys.path if p]))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    (output,) = [o for o in cell["outputs"] if o["output_type"] == "display_data"]
    page = output["data"]["text/html"]
    assert page.count("</tr>") == 1 + 5
    for shown in ("1, step 3", "val_loss", "train_accuracy", "data: train: 40 samples"):
        assert shown in page
    assert re.search(
        r'<pre class="code">layer +kind +output +parameters\n0 +Linear +\(8, 6\) +30\n', page
    )
    assert "<progress" not in page


def test_the_bar_of_an_epoch_is_there_again_after_a_validation_within_it(monkeypatch):
    pytest.importorskip("IPython")
    monkeypatch.setattr(_notebook, "_INTERVAL", 0.0)
    progress = _notebook.NotebookProgress()
    progress.begin_epoch(2, 3, 40)
    progress.begin_validation(7)
    progress.tick_validation()
    assert 'value="1" max="7"></progress> epoch 2/3, validation  1/7' in progress._bar()
    record = Record(8, 2, "val_loss", 1.0, 4.0, "sample", "epoch", 4, 0.0123)
    progress.end_validation(Position(1, 8, 17), [record])
    progress.tick(Position(1, 9, 18), lambda: {"train_loss": 0.5})
    shown = 'value="18" max="40"></progress> epoch 2/3  18/40  train_loss 0.5'
    assert shown in progress._bar()
    progress.end_epoch([record], 1.5)
    progress.close()
    assert progress._bar() == ""
