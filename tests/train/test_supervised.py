import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchproof as bp
from small_runs import samples


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        functools.partial(F.cross_entropy, label_smoothing=0.1),
        bp.exact(nn.CrossEntropyLoss(label_smoothing=0.1)),
    ],
)
def test_a_criterion_of_torch_means_what_it_means_by_mean(criterion):
    x, y = samples()
    model = nn.Linear(4, 3)
    expected = F.cross_entropy(model(x), y, label_smoothing=0.1)
    assert bp.supervised(criterion)(model, (x, y)).terms.item() == pytest.approx(expected.item())


def test_a_function_that_returns_a_mean_is_taken_as_it_is():
    loss = bp.supervised(lambda output, target: bp.reduce((output - target) ** 2))
    outcome = loss(nn.Identity(), [torch.tensor([1.0, 3.0]), torch.zeros(2)])
    assert outcome.terms.item() == 5.0


def test_metrics_stand_beside_the_loss():
    x, y = samples()
    outcome = bp.supervised(nn.CrossEntropyLoss(), metrics={"accuracy": bp.accuracy})(
        nn.Linear(4, 3), (x, y)
    )
    assert set(outcome.metrics) == {"accuracy"}
    assert outcome.metrics["accuracy"].weight.sum() == len(y)


def test_a_criterion_that_returns_a_bare_tensor_is_refused_with_the_remedy():
    loss = bp.supervised(lambda output, target: (output - target).abs().mean())
    with pytest.raises(bp.SettingError, match=r"expected a Mean. Wrap it: batchproof.exact"):
        loss(nn.Identity(), (torch.ones(2), torch.zeros(2)))


@pytest.mark.parametrize("batch", [torch.ones(3), (torch.ones(2),), {"x": 1}])
def test_a_batch_that_is_no_pair_is_refused(batch):
    with pytest.raises(bp.SettingError, match=r"supervised expects \(input, target\)"):
        bp.supervised(nn.L1Loss())(nn.Identity(), batch)


def test_what_cannot_be_called_is_refused(unchecked):
    with pytest.raises(
        bp.SettingError, match="the criterion is 'cross-entropy'; expected a callable"
    ):
        bp.supervised("cross-entropy")
    with pytest.raises(bp.SettingError, match="accuracy is 'accuracy'; expected a callable"):
        bp.supervised(nn.L1Loss(), metrics={"accuracy": "accuracy"})
