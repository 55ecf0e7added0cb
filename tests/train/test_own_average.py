"""An optimiser with weights of its own for evaluation is validated and kept by these."""

import pytest
import torch

import batchproof as bp
from batchproof.train import RunFolder
from small_runs import batches, classifier, criterion, trainer


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free SGD (Defazio et al. 2024): trains at y, evaluates at x, steps z."""

    def __init__(self, parameters, lr=0.3, beta=0.9):
        super().__init__(list(parameters), {"lr": lr, "beta": beta, "k": 0, "train_mode": False})

    @torch.no_grad()
    def _move(self, *, train):
        for group in self.param_groups:
            if group["train_mode"] == train:
                continue
            weight = 1 - group["beta"] if train else 1 - 1 / group["beta"]
            for p in group["params"]:
                if "z" in self.state[p]:
                    p.lerp_(self.state[p]["z"], weight)
            group["train_mode"] = train

    def eval(self):
        self._move(train=False)

    def train(self):
        self._move(train=True)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["train_mode"], "call train() first"
            group["k"] += 1
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                # y <- y + (x - y) of the new average, in terms of y and z alone
                x = p.lerp(z, 1 - 1 / group["beta"])
                z.sub_(p.grad, alpha=group["lr"])
                x.lerp_(z, 1 / group["k"])
                p.copy_(x.lerp(z, 1 - group["beta"]))


class Unnamed(ScheduleFree):
    """One whose groups do not say in which mode it is."""

    def _move(self, *, train):
        if getattr(self, "mode", False) != train:
            super()._move(train=train)
        self.mode = train

    def __init__(self, parameters):
        super().__init__(parameters)
        self.mode = False


def fitted(kind=ScheduleFree, **options):
    model = classifier()
    optimizer = kind(model.parameters())
    return trainer(model, optimizer=optimizer, **options), optimizer


@pytest.mark.parametrize("kind", [ScheduleFree, Unnamed])
def test_the_weights_that_are_validated_are_those_to_deploy(kind):
    trained, optimizer = fitted(kind)
    history = trained.fit(batches(40), batches(21), max_epochs=5)
    in_training = bp.evaluate(trained.model, batches(21), criterion()).value
    assert trained.evaluate(batches(21)).value == history.values("val_loss")[-1]
    assert bp.evaluate(trained.model, batches(21), criterion()).value == in_training
    optimizer.eval()
    deployed = bp.evaluate(trained.model, batches(21), criterion()).value
    assert history.values("val_loss")[-1] == deployed != in_training
    assert trained.evaluate(batches(21)).value == deployed


@pytest.mark.parametrize("run_dir", [None, "run"])
def test_the_best_weights_are_those_that_were_validated(tmp_path, run_dir):
    trained, _ = fitted(run_dir=run_dir and tmp_path / run_dir)
    history = trained.fit(batches(40), batches(21), max_epochs=4)
    model = classifier(seed=7)
    model.load_state_dict(history.best_state())
    assert bp.evaluate(model, batches(21), criterion()).value == history.best.value
    trained.load_weights(history.best_state())
    assert trained.evaluate(batches(21)).value == history.best.value


def test_validating_and_saving_change_no_step(tmp_path):
    def weights(val, **options):
        trained, _ = fitted(**options)
        trained.fit(batches(40), val, max_epochs=3)
        return torch.cat([p.detach().flatten() for p in trained.model.parameters()])

    watched = weights(batches(21), run_dir=tmp_path / "run", checkpoint_every_steps=1)
    assert torch.equal(watched, weights(None))


def test_a_run_is_resumed_exactly(tmp_path):
    def fit(folder, epochs, **options):
        fitted(run_dir=tmp_path / folder)[0].fit(
            batches(40, shuffle=True), batches(21), max_epochs=epochs, **options
        )

    fit("whole", 4)
    fit("cut", 2)
    fit("cut", 4, resume=True)
    assert RunFolder(tmp_path / "whole").records() == RunFolder(tmp_path / "cut").records()


def test_trials_leave_it_as_it_was():
    trained, optimizer = fitted()
    before = [p.clone() for p in trained.model.parameters()]
    trained.find_lr(batches(40), steps=5)
    trained.dry_run(batches(40), batches(9))
    assert all(torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True))
    assert optimizer.param_groups[0]["train_mode"] is False


def test_a_moving_average_beside_it_is_refused():
    with pytest.raises(bp.SettingError, match="beside ScheduleFree, which averages the weights"):
        fitted(ema=0.9)
