"""The mean of a loss over samples in fastai."""

import warnings

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    learner = pytest.importorskip("fastai.learner", reason="fastai is not installed")
    from fastai.callback.tracker import SaveModelCallback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.losses import CrossEntropyLossFlat

from batchproof.integrations.fastai import ExactLoss

WEIGHTS = torch.tensor([1.0, 5.0, 0.2])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def samples(count=11):
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, generator=draw), torch.randint(3, (), generator=draw)) for _ in range(count)
    ]


def learn(folder, loss, size=4, callbacks=()):
    torch.manual_seed(0)
    loaders = DataLoaders(DataLoader(samples(), bs=4), DataLoader(samples(), bs=size))
    return learner.Learner(
        loaders,
        nn.Linear(3, 3),
        loss_func=loss,
        opt_func=learner.Adam,
        metrics=[ExactLoss(loss)],
        path=folder,
        cbs=[*callbacks],
    )


def whole(net):
    inputs, targets = map(torch.stack, zip(*samples(), strict=True))
    with torch.no_grad():
        return nn.functional.cross_entropy(net(inputs), targets, WEIGHTS).item()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, CrossEntropyLossFlat])
@pytest.mark.parametrize("size", [1, 4, 11])
def test_a_validation_is_one_number_at_every_batch_size(tmp_path, loss, size):
    made = learn(tmp_path, loss(weight=WEIGHTS), size)
    with made.no_bar(), made.no_logging():
        valid, found = made.validate()
    assert found == pytest.approx(whole(made.model), rel=1e-6)
    if size < 11:
        assert abs(valid - whole(made.model)) > 1e-3


def test_a_whole_training_keeps_the_best_by_it(tmp_path):
    best = SaveModelCallback(monitor="exact_loss", fname="best")
    made = learn(tmp_path, nn.CrossEntropyLoss(weight=WEIGHTS), callbacks=[best])
    with made.no_bar(), made.no_logging():
        made.fit(3, lr=0.3)
    values = [row[-1] for row in made.recorder.values]
    assert len(values) == 3
    assert whole(made.model) == pytest.approx(min(values), rel=1e-6)
