"""The mean of a loss over samples in fastai."""

import warnings

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    learner = pytest.importorskip("fastai.learner", reason="fastai is not installed")
    from fastai.callback.tracker import SaveModelCallback
    from fastai.callback.training import GradientAccumulation, GradientClip
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.losses import CrossEntropyLossFlat
    from fastai.optimizer import OptimWrapper

from batchproof import CriterionError, NonFiniteError, SettingError, check
from batchproof.integrations.fastai import ExactAccumulation, ExactLoss

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


class Batches:
    """Batches as they are, in the form of a fastai loader."""

    device, bs = torch.device("cpu"), 4

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def over(model, optimizer, batches, *callbacks, loss=None):
    """Return a Learner over batches, with an optimizer of torch."""
    loaders = DataLoaders(Batches(batches), Batches([]), device="cpu")
    return learner.Learner(
        loaders,
        model,
        loss_func=loss or nn.CrossEntropyLoss(weight=WEIGHTS.double()),
        opt_func=lambda *_, **__: OptimWrapper(opt=optimizer),
        cbs=[*callbacks],
    )


def build(rate=0.1, kind=torch.optim.SGD):
    torch.manual_seed(0)
    model = nn.Linear(3, 3).double()
    return model, kind(model.parameters(), rate)


def fit(made, epochs=1):
    with made.no_bar(), made.no_logging():
        made.fit(epochs, lr=0.1)


def run(model, optimizer, batches, n_acc=1000):
    fit(over(model, optimizer, batches, ExactAccumulation(n_acc)))


def pairs():
    return [(inputs.double(), target) for inputs, target in samples()]


def test_a_default_type_of_float64_is_no_trouble_to_the_recorder():
    torch.set_default_dtype(torch.float64)
    try:
        model, optimizer = build()
        run(model, optimizer, pairs_of_one())
    finally:
        torch.set_default_dtype(torch.float32)


def pairs_of_one():
    return [(inputs[None], target[None]) for inputs, target in pairs()]


def ragged():
    inputs, targets = (torch.stack(each) for each in zip(*pairs(), strict=True))
    sizes = [3, 1, 4, 2, 1]
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


def by_hand(epochs, kind, most=None):
    """Return the weights after whole windows of 4, 4 and 3 samples an epoch."""
    model, optimizer = build(kind=kind)
    criterion = nn.CrossEntropyLoss(WEIGHTS.double())
    inputs, targets = map(torch.cat, zip(*ragged(), strict=True))
    for _ in range(epochs):
        for some, of_them in zip(inputs.split(4), targets.split(4), strict=True):
            optimizer.zero_grad()
            criterion(model(some), of_them).backward()
            if most:
                nn.utils.clip_grad_norm_(model.parameters(), most)
            optimizer.step()
    return model


def expect_equal(model, expected):
    for value, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-13)


def test_a_step_over_several_batches_is_the_gradient_of_one_mean():
    report = check.check_step(run, pairs(), build=build)
    assert report.ok, str(report)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("most", [None, 0.05])
def test_a_training_by_accumulation_is_that_over_whole_windows(kind, most):
    model, optimizer = build(kind=kind)
    clipping = [GradientClip(most)] if most else []
    fit(over(model, optimizer, ragged(), ExactAccumulation(4), *clipping), epochs=3)
    expect_equal(model, by_hand(3, kind, most))


def test_fastai_by_itself_trains_otherwise():
    # a loss in float32, for the Recorder takes no other
    model, optimizer = build()
    batches = [(inputs.float(), targets) for inputs, targets in ragged()]
    model.float()
    loss = nn.CrossEntropyLoss(weight=WEIGHTS)
    fit(over(model, optimizer, batches, GradientAccumulation(4), loss=loss))
    assert (model.weight - by_hand(1, torch.optim.SGD).weight).abs().max() > 1e-3


def test_a_training_goes_on_from_what_was_saved(tmp_path):
    model, optimizer = build(kind=torch.optim.Adam)
    first = over(model, optimizer, ragged(), ExactAccumulation(4))
    first.path = tmp_path
    fit(first)
    first.save("half")
    model, optimizer = build(kind=torch.optim.Adam)
    second = over(model, optimizer, ragged(), ExactAccumulation(4))
    second.path = tmp_path
    second.create_opt()
    second.load("half", with_opt=True)
    fit(second, 2)
    expect_equal(model, by_hand(3, torch.optim.Adam))


def test_a_training_that_breaks_off_leaves_nothing_behind():
    original = nn.functional.cross_entropy
    model, optimizer = build()
    wrong = [ragged()[1], (torch.zeros(1, 3).double(), torch.tensor([7]))]
    made = over(model, optimizer, wrong, ExactAccumulation(4))
    with pytest.raises(IndexError):
        fit(made)
    made.dls.loaders[0].batches = ragged()
    fit(made)
    expect_equal(model, by_hand(1, torch.optim.SGD))
    assert nn.functional.cross_entropy is original


def test_nan_a_loss_that_cannot_be_weighed_and_two_accumulations_are_refused():
    nan = [(torch.full((2, 3), torch.nan).double(), torch.tensor([0, 1]))]
    model, optimizer = build()
    before = model.weight.clone()
    with pytest.raises(NonFiniteError, match="no step was taken"):
        fit(over(model, optimizer, nan, ExactAccumulation(2)))

    def own(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) + outputs.square().mean()

    with pytest.raises(CriterionError, match="expected a sum of their means"):
        fit(over(model, optimizer, ragged(), ExactAccumulation(2), loss=own))
    both = ExactAccumulation(2), GradientAccumulation(2)
    with pytest.raises(SettingError, match="beside another callback that accumulates"):
        fit(over(model, optimizer, ragged(), *both))
    with pytest.raises(SettingError, match="n_acc is 0; expected a whole number"):
        ExactAccumulation(0)
    assert (model.weight == before).all()
