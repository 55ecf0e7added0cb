"""A Mean as one of torcheval's metrics."""

import subprocess
import sys

import pytest
import torch

import batchproof as bp
from batchproof import SettingError

torcheval = pytest.importorskip("torcheval.metrics", reason="torcheval is not installed")

from torcheval.metrics import toolkit  # noqa: E402

from batchproof.integrations.torcheval import ExactMean  # noqa: E402

LOSSES = torch.tensor([1.0, 2.0, 3.0, 10.0])


@pytest.mark.parametrize("sizes", [(4,), (3, 1), (1, 1, 1, 1)])
def test_the_mean_does_not_depend_on_the_batches(sizes):
    metric = ExactMean()
    for part in LOSSES.split(sizes):
        assert metric.update(bp.reduce(part)) is metric
    assert metric.compute().item() == 4.0
    assert metric.reset().update(bp.reduce(LOSSES[:1])).compute().item() == 1.0


def test_weights_nan_and_a_checkpoint_are_kept():
    metric = ExactMean().update(bp.reduce(LOSSES[:2], weight=torch.tensor([3.0, 1.0])))
    assert metric.compute().item() == 1.25
    other = ExactMean()
    other.load_state_dict(metric.state_dict())
    assert other.compute().item() == 1.25
    assert metric.update(bp.reduce(torch.tensor([float("nan")]))).compute().isnan()


def test_states_are_merged_as_toolkit_merges_them():
    metrics = [ExactMean().update(bp.reduce(part)) for part in LOSSES.split((3, 1))]
    assert toolkit.clone_metrics(metrics)[0].merge_state(metrics[1:]).compute().item() == 4.0


def test_what_is_not_a_mean_is_refused():
    with pytest.raises(SettingError, match=r"given a float; expected a batchproof\.Mean"):
        ExactMean().update(1.0)


ON_RANKS = """
import torch
from torcheval.metrics import toolkit
import batchproof as bp
from batchproof.integrations.torcheval import ExactMean

with bp.step.distributed_group("cpu") as place:
    losses = torch.tensor([1.0, 2.0, 3.0, 10.0]).split((3, 1))[place.rank]
    metric = ExactMean().update(bp.reduce(losses))
    mean = toolkit.sync_and_compute(metric)
    assert place.rank or mean.item() == 4.0
"""


@pytest.mark.ranks
@pytest.mark.slow
def test_over_ranks_it_is_one_mean(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(ON_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
