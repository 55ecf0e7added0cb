import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import batchproof as bp
from batchproof.train import Callback, _state
from batchproof.train._checkpoints import _folder
from small_runs import batches, classifier, criterion, samples, trainer
from strategies import cuts


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in right)


@settings(max_examples=10)
@given(cut=cuts(12), accumulate=st.integers(1, 4))
def test_the_step_of_fit_is_that_of_the_uncut_window(cut, accumulate):
    x, y = samples(12)
    x = x.double()
    parts = [part for part in cut if part]
    model, reference = classifier().double(), classifier().double()
    trainer(model, accumulate=accumulate, lr=0.5).fit(
        [(x[part], y[part]) for part in parts], max_epochs=2
    )
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.5, momentum=0.9)
    for _ in range(2):
        for first in range(0, len(parts), accumulate):
            window = [i for part in parts[first : first + accumulate] for i in part]
            optimizer.zero_grad()
            nn.functional.cross_entropy(reference(x[window]), y[window]).backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_fit_and_evaluate_call_one_function():
    modes = []

    def loss(model, batch):
        modes.append(model.training)
        return criterion()(model, batch)

    fitted = trainer(loss=loss)
    fitted.fit([samples(4)], [samples(6)], max_epochs=1)
    fitted.evaluate([samples(5)])
    # the first look at a batch, the step, the validation, the evaluation
    assert modes == [False, True, False, False]


LOOK = """
import torch, traceback, batchproof as bp

def loss(model, batch):
    if model.training:
        print(*[frame.name for frame in traceback.extract_stack()])
    return bp.reduce(model(batch))

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
bp.Trainer(model, loss, optimizer, progress=False).fit([torch.ones(2, 2)], max_epochs=1)
"""


def test_the_loss_is_the_sixth_call_of_fit():
    # in a process of its own, for the checks of annotations are calls too
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == [
        "<module>",
        "fit",
        "run",
        "_epoch",
        "__call__",
        "_summed",
        "loss",
    ]


def test_the_validation_mean_is_that_of_evaluate():
    fitted = trainer()
    history = fitted.fit(batches(), batches(23, seed=2), max_epochs=2)
    found = fitted.evaluate(batches(23, seed=2))
    assert history.values("val_loss")[-1] == found.value
    assert history.last("val_loss").standard_error == found.standard_error
    assert history.last("val_accuracy").value == found.metrics["accuracy"].value


def test_the_train_loss_of_an_epoch_is_over_its_samples():
    model = classifier()
    x, y = samples(10)
    history = trainer(model, lr=1e-30).fit([(x[:9], y[:9]), (x[9:], y[9:])], max_epochs=1)
    expected = nn.functional.cross_entropy(classifier()(x), y).item()
    assert history.values("train_loss")[0] == pytest.approx(expected, rel=1e-6)
    assert history.last("train_loss").weight == 10


def falling_then_rising():
    """A trainer whose validation is best after its third epoch: |w - 3| with w = 1, 2, 3, 4, 5."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    fitted = trainer(
        model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        loss=lambda model, batch: bp.reduce(
            -model(batch)[:, 0] if model.training else (model(batch)[:, 0] - 3).abs()
        ),
    )
    return fitted.fit([torch.ones(2, 1)], [torch.ones(2, 1)], max_epochs=5)


def expect_the_third_epoch(history):
    assert history.values("val_loss") == [2.0, 1.0, 0.0, 1.0, 2.0]
    assert history.best.epoch == 3
    assert history.best_state()["weight"].item() == 3.0


def test_the_best_weights_are_a_copy_of_those_with_the_lowest_validation_mean():
    expect_the_third_epoch(falling_then_rising())


def test_a_reference_in_place_of_a_copy_would_be_noticed(monkeypatch):
    monkeypatch.setattr(_folder, "on_host", dict)
    with pytest.raises(AssertionError):
        expect_the_third_epoch(falling_then_rising())


def test_a_minimum_that_is_never_updated_would_be_noticed(monkeypatch):
    def forgetful(self, record, *, counts):
        return record.value < (1e9 if self.value is None else self.value)

    monkeypatch.setattr(_state.Best, "update", forgetful)
    with pytest.raises(AssertionError):
        expect_the_third_epoch(falling_then_rising())


def test_patience_counts_epochs_that_are_no_better():
    fitted = trainer(lr=1e-30, patience=2)
    history = fitted.fit(batches(16), batches(16), max_epochs=50)
    assert len(history.values("val_loss")) == 3
    assert history.stopped == "no better val_loss for 2 epochs (best in epoch 1)"


def test_an_epoch_must_be_better_by_more_than_min_delta():
    fitted = trainer(patience=1, min_delta=1e9)
    assert len(fitted.fit(batches(16), batches(16), max_epochs=9).values("val_loss")) == 2


def test_the_largest_metric_is_the_best_where_mode_is_max():
    history = trainer(monitor="val_accuracy", mode="max").fit(
        [samples(9)], [samples(50)], max_epochs=5
    )
    values = history.values("val_accuracy")
    assert history.best.value == max(values)
    assert history.best.epoch == 1 + values.index(max(values))


def test_patience_without_validation_is_refused():
    with pytest.raises(bp.SettingError, match="patience waits for val_loss, but no validation"):
        trainer(patience=1).fit(batches(), max_epochs=1)


def test_a_monitor_that_is_not_measured_is_refused_with_what_is():
    with pytest.raises(bp.SettingError, match=r"'val_f1' but the run measures .*val_accuracy"):
        trainer(monitor="val_f1").fit(batches(), batches(), max_epochs=1)


def test_a_fit_without_an_end_is_refused():
    with pytest.raises(bp.SettingError, match="fit was given no end"):
        trainer().fit(batches())


def test_max_steps_closes_the_epoch_under_way():
    history = trainer().fit(batches(50), batches(9), max_steps=9)
    assert history.last("train_loss").step == 9
    assert [r.step for r in history.epochs("val_loss")] == [7, 9]
    assert history.last("train_loss").weight == 16


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_an_epoch_is_limited_to_so_many_batches(accumulate):
    history = trainer(limit_train_batches=3, limit_val_batches=2, accumulate=accumulate).fit(
        batches(50), batches(50), max_epochs=2
    )
    assert [r.weight for r in history.epochs("train_loss")] == [24, 24]
    assert [r.weight for r in history.epochs("val_loss")] == [16, 16]


def test_overfitting_trains_and_validates_on_the_same_few_batches():
    history = trainer(overfit_batches=2, lr=0.5).fit(batches(50, shuffle=True), max_epochs=20)
    assert history.last("val_loss").weight == 16
    assert history.values("val_accuracy")[-1] == 1.0


def test_a_loader_that_ends_for_good_is_refused():
    with pytest.raises(bp.DataError, match="no batch in epoch 2; expected an iterable"):
        trainer().fit(iter([samples(4)]), max_epochs=2)


def test_an_empty_loader_is_refused():
    with pytest.raises(bp.DataError, match="training loader gave no batch"):
        trainer().fit([], max_epochs=1)


def test_a_model_in_evaluation_mode_is_trained_and_a_frozen_part_stays_frozen():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    trainer(model).fit(batches(), batches(), max_epochs=1)
    assert model.training
    model[1].eval()
    before = model[1].running_mean.clone()
    trainer(model).fit(batches(), batches(), max_epochs=1)
    assert not model[1].training
    assert torch.equal(model[1].running_mean, before)


def test_the_moving_average_is_what_is_evaluated_and_kept():
    model = classifier()
    fitted = trainer(model, ema=0.5)
    history = fitted.fit([samples(8)], [samples(8)], max_epochs=2)
    found = bp.evaluate(model, [samples(8)], criterion())
    assert found.value != history.values("val_loss")[-1]
    assert fitted.evaluate([samples(8)]).value == history.values("val_loss")[-1]
    assert not same(history.best_state(), model.state_dict())


def test_weights_that_are_loaded_are_what_is_evaluated_also_beside_an_average():
    fitted = trainer(ema=0.5, lr=2.0, seed=1)
    history = fitted.fit(batches(), [samples(20)], max_epochs=6)
    assert history.best.epoch < 6
    fitted.load_weights(history.best_state())
    assert fitted.evaluate([samples(20)]).value == history.best.value


def test_the_moving_average_is_decay_times_itself_plus_the_rest_of_the_weights():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    fitted = trainer(
        model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        loss=lambda model, batch: bp.reduce(-model(batch)[:, 0]),
        ema=0.75,
        monitor="train_loss",
    )
    history = fitted.fit([torch.ones(1, 1)] * 3, max_epochs=1)
    # weights 1, 2, 3; the average starts at 1
    assert history.best_state()["weight"].item() == 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 3


def test_a_seed_makes_two_runs_one():
    runs = []
    for _ in range(2):
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(0.1)
        runs.append(trainer(model, seed=3).fit(batches(), max_epochs=1).records)
    assert runs[0] == runs[1]


def test_deterministic_mode_lasts_as_long_as_fit():
    seen = []

    class Look(Callback):
        def on_step(self, position, result):
            seen.append(torch.are_deterministic_algorithms_enabled())

    trainer(deterministic=True, callbacks=[Look()]).fit([samples(4)], max_epochs=1)
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_bf16_runs_the_loss_under_autocast():
    seen = []

    def loss(model, batch):
        seen.append(torch.is_autocast_enabled("cpu"))
        return criterion()(model, batch)

    history = trainer(precision="bf16", loss=loss).fit(batches(), batches(), max_epochs=1)
    assert set(seen) == {True}
    assert history.last("train_loss").weight == 50


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(bp.SettingError, match="'fp16' on the CPU"):
        trainer(precision="fp16")


def test_a_callable_updater_trains_as_an_optimiser_does():
    model, reference = classifier(), classifier()

    def updater(batch_weight):
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(0.1 * p.grad / batch_weight)

    trainer(model, optimizer=updater).fit(batches(), max_epochs=2)
    plain = torch.optim.SGD(reference.parameters(), lr=0.1)
    trainer(reference, optimizer=plain).fit(batches(), max_epochs=2)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)


def test_callbacks_hear_of_everything_in_order():
    heard = []

    class Listener(Callback):
        def on_begin(self, model, history):
            heard.append("begin")

        def on_step(self, position, result):
            heard.append(f"step {position.step}")

        def on_records(self, records):
            heard.append("records")

        def on_epoch(self, position, history):
            heard.append(f"epoch {position.epoch}")

        def on_end(self, history):
            heard.append("end")

    trainer(callbacks=[Listener()]).fit([samples(4), samples(3)], max_epochs=1)
    assert heard == ["begin", "step 1", "step 2", "records", "epoch 1", "end"]


def test_records_of_steps_add_up_to_the_epoch():
    history = trainer(log_every=3).fit(batches(48), max_epochs=1)
    steps = [r for r in history.records if r.name == "train_loss" and r.span == "steps"]
    whole = history.last("train_loss")
    assert [r.weight for r in steps] == [24, 24]
    assert sum(r.total for r in steps) == pytest.approx(whole.total, rel=1e-12)


def test_a_nan_in_training_names_the_step_and_the_sample():
    x, y = samples(20)
    x[17] = float("nan")
    loader = [(x[:8], y[:8]), (x[8:], y[8:])]
    text = r"step 2: .*In micro-batch 1, sample 9 \(from 0\) holds NaN or infinity"
    with pytest.raises(bp.NonFiniteError, match=text):
        trainer().fit(loader, max_epochs=1)


def test_steps_that_are_not_finite_can_be_skipped():
    x, y = samples(20)
    x[17] = float("nan")
    loader = [(x[:8], y[:8]), (x[8:], y[8:])]
    history = trainer(nonfinite="skip").fit(loader, max_epochs=1)
    assert history.last("train_loss").weight == 8


def test_several_terms_are_logged_each_with_its_own_pair():
    def loss(model, batch):
        output = model(batch[0])
        return {
            "size": bp.reduce(output.square()),
            "sign": bp.reduce(output.mean(1), weight=batch[1] + 1),
        }

    history = trainer(loss=loss, coefficients={"sign": 0.5}).fit(
        batches(20), batches(20), max_epochs=1
    )
    size, sign, both = (history.last(f"val_{name}") for name in ("size", "sign", "loss"))
    assert both.value == pytest.approx(size.value + 0.5 * sign.value)
    assert (both.unit, size.unit) == ("objective", "element")
    assert sign.weight != size.weight


def test_groups_break_the_validation_down():
    history = trainer(by=lambda batch: batch[1], groups=["a", "b", "c"]).fit(
        batches(20), batches(20), max_epochs=1
    )
    parts = [history.last(f"val_loss/{name}") for name in "abc"]
    assert sum(p.weight for p in parts) == 20
    assert sum(p.total for p in parts) == pytest.approx(history.last("val_loss").total)


def test_batches_of_every_shape_are_brought_to_the_device():
    from dataclasses import dataclass
    from typing import NamedTuple

    from batchproof import _trees
    from batchproof.train import _batches

    class Pair(NamedTuple):
        x: torch.Tensor
        y: torch.Tensor

    @dataclass
    class Both:
        x: torch.Tensor
        name: str

    cpu, meta = torch.device("cpu"), torch.device("meta")
    one = torch.ones(1)
    moved = _trees.to_device({"a": [one, Pair(one, one)], "b": (Both(one, "n"), "text", 3)}, meta)
    assert moved["a"][0].device == moved["a"][1].x.device == moved["b"][0].x.device == meta
    assert isinstance(moved["a"][1], Pair)
    assert (moved["b"][0].name, moved["b"][1:]) == ("n", ("text", 3))
    loader = [samples(2)]
    assert _batches.placed(loader, cpu) is loader


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(bp.SettingError, match="device is 'nonsense', which this machine"):
        trainer(device="nonsense")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"accumulate": 0}, "accumulate is 0; expected a whole number, 1 or more"),
        ({"accumulate": np.int64(2)}, "accumulate is np.int64.2.; expected a whole number"),
        ({"log_every": -1}, "log_every is -1"),
        ({"seed": "a"}, "seed is 'a'; expected a whole number, or None"),
        ({"callbacks": [print]}, r"callbacks holds .*print.*; expected objects of .*Callback"),
        ({"overfit_batches": 0}, "overfit_batches is 0"),
        ({"patience": 0}, "patience is 0; expected 1 epoch or more"),
        ({"min_delta": -1.0}, "min_delta is -1.0; expected 0 or more"),
        ({"mode": "least"}, "mode is 'least'; expected 'min' or 'max'"),
        ({"ema": 1.5}, "ema is 1.5; expected a decay between 0 and 1"),
        ({"precision": "fp8"}, "precision is 'fp8'; it is one of"),
        ({"scheduler": "cosine"}, "scheduler is str; expected one of"),
        ({"loggers": ["wanbd"]}, "logger is 'wanbd'; expected one of 'tensorboard', 'wandb'"),
        ({"loggers": [3]}, r"logger int has no .log\(dict, step=\)"),
        ({"checkpoint_every_steps": 0}, "checkpoint_every_steps is 0"),
    ],
)
def test_a_setting_that_is_invalid_is_refused(option, text, unchecked):
    with pytest.raises(bp.SettingError, match=text):
        trainer(**option).fit(batches(), batches(), max_epochs=1)


def test_a_model_that_is_no_module_is_refused(unchecked):
    with pytest.raises(bp.SettingError, match=r"model is function; expected a torch\.nn\.Module"):
        bp.Trainer(lambda x: x, criterion(), torch.optim.SGD([torch.zeros(1)], lr=1.0))


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(), nn.functional.cross_entropy, bp.exact(nn.CrossEntropyLoss())],
    ids=["module", "functional", "exact"],
)
def test_a_criterion_is_no_loss_of_model_and_batch(loss):
    text = r"is called as loss\(model, batch\); pass batchproof\.supervised\(criterion\)"
    with pytest.raises(bp.SettingError, match=text):
        trainer(loss=loss)
    with pytest.raises(bp.SettingError, match=text):
        bp.evaluate(classifier(), [samples()], loss)


def test_a_model_whose_parameters_have_no_shape_yet_is_refused():
    model = nn.LazyLinear(3)
    with pytest.raises(bp.SettingError, match="LazyLinear has parameters without a shape yet"):
        bp.Trainer(model, criterion(), torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_optimizer_that_would_not_train_the_model_is_refused(unchecked):
    other = torch.optim.SGD(classifier().parameters(), lr=0.1)
    with pytest.raises(bp.SettingError, match="SGD holds no parameter of the model"):
        trainer(optimizer=other)
    with pytest.raises(
        bp.SettingError, match=r"optimizer is the class SGD; expected a torch\.optim"
    ):
        trainer(optimizer=torch.optim.SGD)


def test_a_schedule_of_another_optimizer_is_refused():
    model = classifier()
    one, other = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    scheduler = torch.optim.lr_scheduler.StepLR(other, 1)
    with pytest.raises(bp.SettingError, match="StepLR moves the learning rate of another"):
        trainer(model, optimizer=one, scheduler=scheduler)
    trainer(model, optimizer=other, scheduler=scheduler)


def test_what_fit_and_find_lr_return_shows_itself_shortly():
    run = trainer()
    assert repr(run.find_lr(batches(), steps=5)).startswith("5 rates from 1e-06 to 10; ")
    history = run.fit(batches(), batches(), max_epochs=2)
    assert repr(history) == str(history)


def test_fitting_leaves_the_users_optimizer_and_data_alone():
    x, y = samples()
    kept = copy.deepcopy((x, y))
    trainer().fit([(x, y)], max_epochs=1)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
