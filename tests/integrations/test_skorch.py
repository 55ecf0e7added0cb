"""The losses of skorch's epochs as means over samples."""

import numpy as np
import pytest
import torch
from torch import nn

from batchproof import CriterionError, NonFiniteError, SettingError, check

pytest.importorskip("skorch", reason="skorch is not installed")

import skorch
from skorch import dataset, helper

from batchproof.integrations.skorch import ExactLosses

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
    with pytest.raises(CriterionError, match="which none of torch's losses returned"):
        net_of(ExactLosses(), criterion=Own, criterion__weight=None)
    assert nn.functional.cross_entropy is original


def pairs():
    inputs, targets = map(torch.as_tensor, samples())
    return list(zip(inputs.double(), targets, strict=True))


def made(model, optimizer, batches, *callbacks, accumulate=None, criterion=nn.CrossEntropyLoss):
    """Return a net over batches, trained by its own fit loop."""
    callback = ExactLosses() if accumulate is None else ExactLosses(accumulate=accumulate)
    net = skorch.NeuralNet(
        model,
        criterion,
        criterion__weight=WEIGHTS.to(next(model.parameters())),
        iterator_train=lambda *_, **__: batches,
        train_split=None,
        callbacks=[callback, *callbacks],
        verbose=0,
    ).initialize()
    net.optimizer_ = optimizer
    return net


def build(rate=0.1, kind=torch.optim.SGD):
    model = Net().double()
    return model, kind(model.parameters(), rate)


def run(model, optimizer, batches, accumulate=None):
    net = made(model, optimizer, batches, accumulate=accumulate or len(batches))
    net.partial_fit(*samples(), epochs=1)
    return net.history[-1, "train_loss"]


def test_a_step_over_several_batches_is_the_gradient_of_one_mean():
    report = check.check_step(run, pairs(), build=build)
    assert report.ok, str(report)


def test_a_step_over_fewer_batches_than_accumulate_is_as_exact():
    def short(model, optimizer, batches):
        return run(model, optimizer, batches, accumulate=len(batches) + 3)

    assert check.check_step(short, pairs(), build=build).ok


def by_hand(batches, accumulate, epochs, kind, most=None):
    """Return the weights after a training by the definition: whole windows, in one batch each."""
    model, optimizer = build(kind=kind)
    criterion = nn.CrossEntropyLoss(WEIGHTS.double())
    for _ in range(epochs):
        for start in range(0, len(batches), accumulate):
            inputs, targets = map(torch.cat, zip(*batches[start : start + accumulate], strict=True))
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            if most:
                nn.utils.clip_grad_norm_(model.parameters(), most)
            optimizer.step()
    return model


def ragged():
    inputs, targets = (torch.stack(each) for each in zip(*pairs(), strict=True))
    sizes = [3, 1, 4, 2, 1]
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("most", [None, 0.05])
def test_a_whole_training_is_that_over_whole_windows(kind, most):
    model, optimizer = build(kind=kind)
    clipping = [skorch.callbacks.GradientNormClipping(most)] if most else []
    net = made(model, optimizer, ragged(), *clipping, accumulate=2)
    net.partial_fit(*samples(), epochs=3)
    for value, expected in zip(
        model.parameters(), by_hand(ragged(), 2, 3, kind, most).parameters(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-13)
    assert len(net.history) == 3


def test_a_training_goes_on_from_saved_parameters(tmp_path):
    first = made(*build(kind=torch.optim.Adam), ragged(), accumulate=2)
    first.partial_fit(*samples(), epochs=1)
    names = {f"f_{name}": str(tmp_path / name) for name in ("params", "optimizer", "history")}
    first.save_params(**names)
    second = made(*build(kind=torch.optim.Adam), ragged(), accumulate=2)
    second.load_params(**names)
    second.partial_fit(*samples(), epochs=2)
    expected = by_hand(ragged(), 2, 3, torch.optim.Adam)
    for value, other in zip(second.module_.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-13)


def test_the_last_window_is_stepped_before_a_validation():
    net = net_of(ExactLosses(accumulate=2), epochs=1)
    # the last step is over 3 of 11 samples
    assert net.history[-1, "valid_loss"] == pytest.approx(whole(net), rel=1e-6)


def test_a_loss_that_is_nan_is_named_as_such():
    inputs, targets = samples()
    inputs[7] = float("nan")
    net = skorch.NeuralNet(
        Net, nn.CrossEntropyLoss, train_split=None, callbacks=[ExactLosses()], verbose=0
    )
    with pytest.raises(NonFiniteError, match="train_loss of a batch is nan"):
        net.fit(inputs, targets)
    accumulates = made(*build(), [(torch.full((2, 3), torch.nan).double(), torch.tensor([0, 1]))])
    before = accumulates.module_.out.weight.clone()
    accumulates.set_params(callbacks__ExactLosses__accumulate=2)
    with pytest.raises(NonFiniteError):
        accumulates.partial_fit(*samples(), epochs=1)
    assert (accumulates.module_.out.weight == before).all()


def test_what_cannot_accumulate_is_refused_before_the_first_step():
    clipping = skorch.callbacks.GradientNormClipping(1.0)
    model, optimizer = build()
    net = made(model, optimizer, ragged(), accumulate=2)
    net.callbacks_.insert(0, ("clip", clipping))
    with pytest.raises(SettingError, match="GradientNormClipping before ExactLosses"):
        net.partial_fit(*samples())
    with pytest.raises(SettingError, match="steps by LBFGS"):
        made(*build(kind=torch.optim.LBFGS), ragged(), accumulate=2).partial_fit(*samples())
    with pytest.raises(SettingError, match="accumulate is 0; expected a whole number"):
        made(*build(), ragged(), accumulate=0).partial_fit(*samples())

    class Twice(nn.CrossEntropyLoss):
        def forward(self, outputs, targets):
            return 2 * super().forward(outputs, targets)

    model, optimizer = build()
    before = model.out.weight.clone()
    with pytest.raises(CriterionError, match="cannot be weighed"):
        made(model, optimizer, ragged(), accumulate=2, criterion=Twice).partial_fit(*samples())
    assert (model.out.weight == before).all()


def test_a_criterion_that_is_called_twice_over_a_batch_is_refused():
    class Both(skorch.NeuralNet):
        def get_loss(self, *args, **kwargs):
            return sum(super(Both, self).get_loss(*args, **kwargs) for _ in range(2))

    net = made(*build(), ragged(), accumulate=2)
    net.__class__ = Both
    before = net.module_.out.weight.clone()
    with pytest.raises(CriterionError, match="called twice over a batch"):
        net.partial_fit(*samples())
    assert (net.module_.out.weight == before).all()


def test_an_error_within_a_batch_leaves_torch_as_it_was():
    original = nn.functional.cross_entropy
    wrong = [(torch.zeros(2, 3).double(), torch.tensor([0, 7]))]
    with pytest.raises(IndexError):
        made(*build(), wrong, accumulate=2).partial_fit(*samples())
    assert nn.functional.cross_entropy is original
