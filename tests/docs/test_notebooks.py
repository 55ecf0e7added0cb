"""The notebooks in examples run from top to bottom and say what they show."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# a line that each shows, wherever it is run
SHOWN = {
    "the_loop_done_right": "val_accuracy",
    "a_mistake_found": "leftover-window",
    "sequences_of_unequal_length": "recut: [(2, 12), (2, 7), (2, 3)]",
}


def shown(notebook) -> str:
    """Return the text of a notebook's results."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = (o.get("text") or str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    return "\n".join(texts)


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs_and_shows_what_it_says(name):
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert SHOWN[name] in shown(notebook)
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    assert SHOWN[name] in shown(notebook)


def test_every_notebook_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(SHOWN)
