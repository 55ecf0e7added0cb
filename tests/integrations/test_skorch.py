"""The losses of skorch's epochs as means over samples."""

import numpy as np
import pytest
import torch
from torch import nn

from batchproof import CriterionError

skorch = pytest.importorskip("skorch", reason="skorch is not installed")

from skorch import dataset, helper  # noqa: E402

from batchproof.integrations.skorch import ExactLosses  # noqa: E402

WEIGHTS = torch.tensor([1.0, 5.0, 0.2])


def samples(count=11):
    draw = np.random.default_rng(0)
    return draw.normal(size=(count, 3)).astype("float32"), draw.integers(0, 3, count)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(3, 3)

    def forward(self, x):
        return self.out(x)


def net_of(*callbacks, epochs=3, criterion=nn.CrossEntropyLoss, kind=skorch.NeuralNet, **options):
    options = {"criterion__weight": WEIGHTS, "lr": 0.1} | options
    inputs, targets = samples()
    valid = helper.predefined_split(dataset.Dataset(inputs, targets))
    net = kind(
        Net,
        criterion=criterion,
        batch_size=4,
        max_epochs=epochs,
        train_split=valid,
        callbacks=[*callbacks],
        verbose=0,
        **options,
    )
    return net.fit(inputs, targets)


def whole(net):
    inputs, targets = map(torch.as_tensor, samples())
    with torch.no_grad():
        return nn.functional.cross_entropy(net.module_(inputs), targets, WEIGHTS).item()


def test_the_losses_of_an_epoch_are_means_over_its_samples():
    net = net_of(ExactLosses(), epochs=1, lr=0.0)
    assert net.history[-1, "valid_loss"] == pytest.approx(whole(net), rel=1e-6)
    assert net.history[-1, "train_loss"] == pytest.approx(whole(net), rel=1e-6)
    plain = net_of(epochs=1, lr=0.0).history[-1, "valid_loss"]
    assert abs(plain - whole(net)) > 1e-3


def test_training_is_as_without_it_and_the_best_epoch_is_that_of_the_mean(tmp_path):
    best = skorch.callbacks.Checkpoint(monitor="valid_loss_best", dirname=str(tmp_path))
    net = net_of(ExactLosses(), best)
    for value, expected in zip(
        net.module_.parameters(), net_of().module_.parameters(), strict=True
    ):
        torch.testing.assert_close(value, expected)
    losses = net.history[:, "valid_loss"]
    assert losses[-1] == pytest.approx(whole(net), rel=1e-6)
    assert net.history[:, "valid_loss_best"] == [
        value < min(losses[:i], default=float("inf")) for i, value in enumerate(losses)
    ]
    # the best epoch is loaded, and trained further with its history
    further = skorch.NeuralNet(
        Net, nn.CrossEntropyLoss, criterion__weight=WEIGHTS, callbacks=[ExactLosses()], verbose=0
    ).initialize()
    further.load_params(checkpoint=best)
    inputs, targets = samples()
    further.partial_fit(inputs, targets)
    assert len(further.history) > 3


def test_a_classifier_that_takes_the_logarithm_itself_is_recorded():
    net = net_of(ExactLosses(), kind=skorch.NeuralNetClassifier, epochs=2)
    assert net.history[-1, "valid_loss"] == pytest.approx(whole(net), rel=1e-6)


def test_a_loss_that_torch_did_not_return_is_refused_and_torch_is_left_as_it_was():
    class Own(nn.Module):
        def __init__(self, weight):
            super().__init__()

        def forward(self, outputs, targets):
            return outputs.square().mean()

    original = nn.functional.cross_entropy
    with pytest.raises(CriterionError, match=r"which none of torch's losses returned \(0 calls\)"):
        net_of(ExactLosses(), criterion=Own, criterion__weight=None)
    assert nn.functional.cross_entropy is original
