"""Metrics of torchmetrics and torcheval are handed in as they are, over batches and ranks."""

import pytest
import torch

import rank_metrics
import rank_processes


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("package", ["torchmetrics", "torcheval"])
@pytest.mark.parametrize("world", [1, 3])
def test_a_metric_is_that_of_the_whole_data_over_ranks_without_a_batch(tmp_path, package, world):
    pytest.importorskip(package)
    by_rank = rank_processes.run("rank_metrics:scored", world, tmp_path, package)
    for count in ("23", "4"):
        whole = getattr(rank_metrics, package)()
        logits, targets = rank_metrics.answers(int(count))
        wanted = {}
        for name, metric in whole.items():
            metric.update(logits, targets)
            value = metric.compute()
            named = value.items() if isinstance(value, dict) else [("", value)]
            wanted |= {f"{name}/{key}" if key else name: part for key, part in named}
        for seen in by_rank:
            assert seen[count].keys() == wanted.keys()
            for name, value in seen[count].items():
                torch.testing.assert_close(value, wanted[name].double(), rtol=1e-6, atol=0)
