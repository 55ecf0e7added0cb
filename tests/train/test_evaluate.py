from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import batchproof as bp
from small_runs import batches, classifier, criterion, samples
from strategies import cuts, integers, weights


def given_pairs(model, batch):
    x, w = batch
    return bp.Mean(x * w, w)


@given(data=st.data())
def test_the_mean_over_any_cut_is_the_ratio_of_sums(data):
    size = data.draw(st.integers(1, 12))
    x = data.draw(st.lists(integers, min_size=size, max_size=size))
    w = data.draw(st.lists(weights, min_size=size, max_size=size).filter(any))
    values, counts = (torch.tensor(each, dtype=torch.float64) for each in (x, w))
    loader = [(values[part], counts[part]) for part in data.draw(cuts(size))]
    expected = Fraction(sum(a * b for a, b in zip(x, w, strict=True)), sum(w))
    assert bp.evaluate(nn.Identity(), loader, given_pairs).value == float(expected)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_the_batch_size_changes_neither_mean_nor_standard_error_nor_accuracy(batch_size):
    model = classifier().double()
    x, y = samples()
    loader = DataLoader(TensorDataset(x.double(), y), batch_size=batch_size)
    whole = bp.evaluate(model, [(x.double(), y)], criterion())
    found = bp.evaluate(model, loader, criterion())
    assert found.value == pytest.approx(whole.value, rel=1e-12)
    assert found.standard_error == pytest.approx(whole.standard_error, rel=1e-9)
    assert found.metrics["accuracy"].value == whole.metrics["accuracy"].value


def test_every_module_gets_its_own_training_flag_back():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    model.train()
    model[1].eval()
    seen = []
    model[2].register_forward_hook(lambda module, *_: seen.append(module.training))
    before = model[1].running_mean.clone()
    bp.evaluate(model, batches(), criterion())
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert set(seen) == {False}
    assert torch.equal(model[1].running_mean, before)


def test_the_flags_come_back_when_the_loss_raises():
    model = classifier()

    def broken(model, batch):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        bp.evaluate(model, batches(), broken)
    assert model.training


def test_a_batch_whose_loss_is_nan_is_named_with_its_sample():
    x, y = samples()
    x[19] = float("nan")
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    text = r"term 'loss' in batch 3 of 7, whose sample 3 \(from 0\) holds NaN or infinity"
    with pytest.raises(bp.NonFiniteError, match=text):
        bp.evaluate(classifier(), loader, criterion())


def test_a_mean_that_is_nan_is_returned_where_that_is_asked_for():
    x, y = samples()
    x[3] = float("inf")
    found = bp.evaluate(classifier(), [(x, y)], criterion(), nonfinite="keep")
    assert found.value != found.value


def test_a_loader_without_batches_is_refused():
    with pytest.raises(bp.DataError, match="gave no batch"):
        bp.evaluate(classifier(), [], criterion())


def test_groups_recombine_to_the_whole():
    x, y = samples()
    found = bp.evaluate(
        classifier(),
        [(x[:9], y[:9]), (x[9:], y[9:])],
        criterion(),
        by=lambda batch: batch[1],
        groups=["left", "middle", "right"],
    )
    assert set(found.groups) == {"left", "middle", "right"}
    parts = found.groups.values()
    assert sum(g.value * g.weight for g in parts) / sum(g.weight for g in parts) == pytest.approx(
        found.value, rel=1e-12
    )


def test_several_terms_give_their_weighted_sum_each_over_its_own_weight():
    def loss(model, batch):
        first = bp.reduce(batch)
        return {"first": first, "second": bp.reduce(batch * 10, weight=batch)}

    loader = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
    found = bp.evaluate(nn.Identity(), loader, loss, coefficients={"second": 0.5})
    assert found.terms["first"].value == 2.0
    assert found.terms["second"].value == pytest.approx(140 / 6)
    assert found.value == pytest.approx(2.0 + 0.5 * 140 / 6)
    assert (found.weight, found.standard_error) == (1.0, None)


class HostReads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_the_host_reads_nothing_batch_by_batch():
    counts = []
    for batch_size in (5, 25):
        with HostReads() as reads:
            bp.evaluate(classifier(), batches(batch_size=batch_size), criterion())
        counts.append(reads.count)
    assert counts[0] == counts[1]
