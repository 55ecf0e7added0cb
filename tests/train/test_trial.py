import copy
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, ReduceLROnPlateau, StepLR

import batchproof as bp
from batchproof.train import (
    LrSweep,
    _first_batch,
    _trials,
    first_batch,
    layer_summary,
    model_summary,
)
from batchproof.train._batches import Epochs
from batchproof.train._first_batch import data_summary
from small_runs import batches, classifier, criterion, samples, trainer


def everything(fitted, optimizer):
    return (
        {name: value.clone() for name, value in fitted.model.state_dict().items()},
        copy.deepcopy(optimizer.state_dict()),
        torch.get_rng_state(),
        [module.training for module in fitted.model.modules()],
    )


def expect_same(before, after):
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert str(before[1]) == str(after[1])
    assert torch.equal(before[2], after[2])
    assert before[3] == after[3]


@pytest.fixture
def fitted():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    fitted = trainer(model, optimizer=optimizer, scheduler=StepLR(optimizer, 1), ema=0.9)
    fitted.fit(batches(16), batches(9), max_epochs=1)
    model.eval()
    return fitted, optimizer


def test_the_sweep_of_learning_rates_puts_everything_back(fitted):
    fitted, optimizer = fitted
    before = everything(fitted, optimizer)
    found = fitted.find_lr(batches(40, shuffle=True), low=1e-4, high=1.0, steps=12)
    expect_same(before, everything(fitted, optimizer))
    assert len(found.rates) == len(found.losses) == 12
    assert found.rates[0] == 1e-4
    assert found.rates[-1] == pytest.approx(1.0)
    assert found.suggestion is None or 1e-4 < found.suggestion < 1.0


def test_the_sweep_ends_where_the_loss_blows_up():
    model = nn.Linear(4, 1)
    loss = bp.supervised(nn.MSELoss())
    x, _ = samples(64)
    found = trainer(model, loss=loss).find_lr([(x, x[:, :1])], low=1e-3, high=1e6, steps=100)
    assert len(found.rates) < 100
    assert 1e-3 < found.suggestion < 10
    assert "falls fastest near" in str(found)


def test_the_curve_of_the_sweep_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    trainer().find_lr(batches(), steps=10, high=0.1).plot(tmp_path / "lr.png")
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [{"low": 0.0}, {"low": 1.0, "high": 0.1}])
def test_a_sweep_needs_a_range(options):
    with pytest.raises(bp.SettingError, match="expected 0 < low < high"):
        trainer().find_lr(batches(), **options)


def test_a_dry_run_tries_everything_and_keeps_nothing(fitted, tmp_path, monkeypatch):
    fitted, optimizer = fitted
    monkeypatch.chdir(tmp_path)
    before = everything(fitted, optimizer)
    text = fitted.dry_run(batches(40, shuffle=True), batches(9))
    expect_same(before, everything(fitted, optimizer))
    assert text.startswith("dry run: one step, one validation batch (train_loss ")
    assert text.endswith("bytes saved and loaded")
    assert not list(tmp_path.iterdir())


def test_the_first_batch_shows_the_loss_beside_that_of_knowing_nothing():
    model = classifier()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    line = first_batch(model, criterion(), samples(8))
    assert line == (
        "first batch (8, 4) float32, (8,) int64; loss at the start 1.099; log(3 classes) is 1.099"
    )
    assert math.log(3) == pytest.approx(1.0986, rel=1e-4)


def test_the_first_look_draws_nothing_and_changes_no_statistics():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    state = torch.get_rng_state()
    first_batch(model, criterion(), samples(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert model[1].num_batches_tracked == 0


def test_a_label_that_is_no_class_is_named_before_training():
    x, y = samples(8)
    y[5] = -3
    with pytest.raises(bp.DataError, match="the first batch: sample 5 has label -3"):
        first_batch(classifier(), criterion(), (x, y))
    y[5] = -100
    first_batch(classifier(), criterion(), (x, y))


def test_a_label_that_is_no_class_is_named_in_a_later_batch():
    x, y = samples(20)
    y[17] = 3
    loader = [(x[:8], y[:8]), (x[8:], y[8:])]
    text = "in step 2, the batch: sample 9 has label 3; expected 0 to 2"
    with pytest.raises(bp.DataError, match=text):
        trainer().fit(loader, max_epochs=1)
    with pytest.raises(bp.DataError, match="the batch: sample 9 has label 3"):
        bp.evaluate(classifier(), loader, criterion())


def test_an_input_that_is_nan_under_a_mask_is_no_fault():
    x = torch.tensor([[1.0], [float("nan")]])

    def loss(model, batch):
        return bp.reduce(model(batch), mask=~batch.isnan())

    assert "loss at the start 1" in first_batch(nn.Identity(), loss, x)


def test_an_input_that_is_nan_is_named_before_training():
    x, y = samples(8)
    x[6, 2] = float("nan")
    with pytest.raises(bp.DataError, match=r"NaN or infinity in sample 6 \(from 0\)"):
        trainer().fit([(x, y)], max_epochs=1)


def test_the_share_of_padding_is_shown():
    mask = torch.tensor([[True, True], [True, False]])

    def loss(model, batch):
        return bp.reduce(batch["x"], mask=batch["mask"])

    line = first_batch(nn.Identity(), loss, {"x": torch.ones(2, 2), "mask": mask})
    assert line.endswith("padding 25% of the elements")


@pytest.mark.parametrize(
    ("codes", "share"),
    [
        ([[3, 1, -1], [2, -1, -1]], "padding 50% of the elements"),
        ([[3, 1, -100], [2, 2, 2]], "padding 17% of the elements"),
        ([[3, -1, 1], [2, 2, 2]], "loss at the start 1"),
        ([[3, 1, -2], [2, 2, -1]], "loss at the start 1"),
        ([[3, 1, 0], [2, 2, 2]], "loss at the start 1"),
    ],
)
def test_what_fills_up_rows_of_integers_is_padding(codes, share):
    def loss(model, batch):
        del model, batch
        return bp.reduce(torch.ones(2))

    assert first_batch(nn.Identity(), loss, torch.tensor(codes)).endswith(share)


def test_the_summary_counts_parameters_and_layers():
    model = classifier()
    model[0].weight.requires_grad_(requires_grad=False)  # type: ignore[call-arg]
    assert model_summary(model) == (
        "Sequential: 51 parameters (27 trained, float32) in 2 Linear, 1 Tanh"
    )


def test_the_summaries_name_a_model_in_a_wrapper_and_one_of_a_single_layer():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
        assert model_summary(model) == "Linear: 15 parameters (all trained, float32) in 1 Linear"
        table = layer_summary(model, criterion(), samples(8))
    finally:
        torch.distributed.destroy_process_group()
    assert table.splitlines()[1] == "model  Linear  (8, 3)          15"


def test_batches_of_a_data_set_that_ranks_share_are_those_of_the_rank(monkeypatch):
    assert data_summary("train", Epochs(batches(9))) == "train: 9 samples in 2 batches"
    monkeypatch.setattr(_first_batch, "in_a_group", lambda group: True)
    assert data_summary("train", Epochs(batches(9))) == "train: 9 samples in 2 batches on rank 0"


def test_a_schedule_moves_per_epoch_or_per_step():
    rates = {}
    for per in ("epoch", "step"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        history = trainer(
            model,
            optimizer=optimizer,
            scheduler=StepLR(optimizer, 1, gamma=0.5),
            scheduler_per=per,
            log_every=1,
        ).fit(batches(16), max_epochs=2)
        rates[per] = [r.value for r in history.records if r.name == "lr" and r.span == "steps"]
    assert rates == {"epoch": [1.0, 1.0, 0.5, 0.5], "step": [1.0, 0.5, 0.25, 0.125]}


def test_the_plateau_is_that_of_the_validation_mean():
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-30)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    fitted = trainer(model, optimizer=optimizer, scheduler=plateau)
    history = fitted.fit(batches(16), batches(9), max_epochs=3)
    assert plateau.best == history.values("val_loss")[0]
    assert plateau.num_bad_epochs == 0
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-30)


def test_a_schedule_that_cannot_count_what_it_is_asked_to_is_refused(unchecked):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cyclic = CyclicLR(optimizer, 0.1, 0.2)
    with pytest.raises(bp.SettingError, match="CyclicLR counts optimiser steps"):
        trainer(model, optimizer=optimizer, scheduler=cyclic)
    plateau = ReduceLROnPlateau(optimizer)
    with pytest.raises(bp.SettingError, match="looks at validation means"):
        trainer(model, optimizer=optimizer, scheduler=plateau, scheduler_per="step")
    with pytest.raises(
        bp.SettingError, match="ReduceLROnPlateau waits for val_loss, but no validation data"
    ):
        trainer(model, optimizer=optimizer, scheduler=plateau).fit(batches(), max_epochs=1)
    with pytest.raises(bp.SettingError, match="scheduler_per is 'batch'"):
        trainer(model, optimizer=optimizer, scheduler=plateau, scheduler_per="batch")


def popping(model, batch):
    labels = batch.pop("labels")
    return criterion()(model, (batch.pop("inputs"), labels))


def test_a_loss_that_takes_its_batch_apart_is_looked_at_in_a_copy():
    x, y = samples(16)
    loader = [{"inputs": x[:8], "labels": y[:8]}, {"inputs": x[8:], "labels": y[8:]}]
    plain = trainer(classifier()).fit([(x[:8], y[:8]), (x[8:], y[8:])], max_epochs=1)
    popped = trainer(classifier(), loss=popping).fit(loader, max_epochs=1)
    assert popped.values("train_loss") == plain.values("train_loss")
    nested = [{"all": each} for each in ({"inputs": x, "labels": y},)]
    trainer(loss=lambda model, batch: popping(model, batch["all"])).fit(nested, max_epochs=1)


def test_a_loss_that_takes_its_batch_apart_meets_it_whole_in_every_epoch():
    x, y = samples(16)
    plain = [(x[:8], y[:8]), (x[8:], y[8:])]
    named = [{"inputs": x, "labels": y} for x, y in plain]
    few = trainer(classifier(), overfit_batches=2).fit(plain, max_epochs=3)
    popped = trainer(classifier(), loss=popping, overfit_batches=2).fit(named, max_epochs=3)
    assert popped.values("val_loss") == few.values("val_loss")
    assert all(set(batch) == {"inputs", "labels"} for batch in named)


def test_a_loss_that_changes_its_batch_in_place_changes_it_once():
    seen = []

    def loss(model, batch):
        seen.append(batch[0].mean().item())
        return criterion()(model, (batch[0].add_(1.0), batch[1]))

    x, y = samples(8)
    trainer(loss=loss).fit([(x.clone(), y)], max_epochs=1)
    assert seen[0] == seen[1]


@dataclass
class Both:
    x: torch.Tensor
    y: torch.Tensor


@dataclass(slots=True)
class Slotted:
    x: torch.Tensor
    y: torch.Tensor


def of_fields(model, batch):
    return criterion()(model, (batch.x, batch.y))


@pytest.mark.parametrize("kind", [Both, Slotted])
def test_dataclass_batches_are_looked_at_for_nan_and_told_apart(tmp_path, kind):
    x, y = samples(16)
    loader = [kind(x[:8], y[:8]), kind(x[8:], y[8:])]
    trainer(loss=of_fields, run_dir=tmp_path / "run").fit(loader, max_epochs=1)
    other = [kind(x[:8] + 1, y[:8]), kind(x[8:], y[8:])]
    with pytest.raises(bp.CheckpointError, match="first batch was"):
        trainer(loss=of_fields, run_dir=tmp_path / "run").fit(other, max_epochs=2, resume=True)
    x[11] = float("nan")
    with pytest.raises(bp.NonFiniteError, match=r"sample 3 \(from 0\) holds NaN"):
        trainer(loss=of_fields).fit(loader, max_epochs=1)
    with pytest.raises(bp.DataError, match=r"NaN or infinity in sample 3 \(from 0\)"):
        trainer(loss=of_fields).fit(loader[1:], max_epochs=1)
    with pytest.raises(bp.NonFiniteError, match=r"batch 2 of 2, whose sample 3 \(from 0\)"):
        bp.evaluate(classifier(), loader, of_fields)


def swept(noise, fall=0.0):
    """Losses that vary by 0.1 times the noise about 1, and fall by so much in the middle third."""
    ramp = torch.linspace(-1, 2, len(noise), dtype=torch.float64).clamp(0, 1)
    losses = (1 - fall * ramp + 0.1 * noise).tolist()
    rates = tuple(10 ** (6 * i / (len(noise) - 1) - 6) for i in range(len(noise)))
    return LrSweep(rates, tuple(losses), tuple(_trials._smoothed(losses)))


def normal(seed, count=100):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "skew",
    [
        pytest.param(lambda noise: noise, id="none"),
        # the batches of a trained model have losses near zero, and a few large ones
        pytest.param(torch.exp, id="lognormal"),
        pytest.param(lambda noise: (2 * noise).exp(), id="lognormal of 2"),
    ],
)
def test_noise_is_no_fall(skew):
    suggested = [swept(skew(normal(seed))).suggestion for seed in range(400)]
    assert sum(rate is not None for rate in suggested) <= 4


def test_where_no_fall_is_seen_the_sweep_says_so():
    assert "no fall beyond the noise is seen" in str(swept(normal(0)))


def test_a_fall_is_suggested_where_it_is_and_not_among_the_first_steps():
    for seed in range(50):
        rate = swept(normal(seed), fall=1.0).suggestion
        assert 1e-5 < rate < 1e-1


def test_a_loss_that_jumps_after_its_fall_does_not_hide_it():
    losses = (*[2.29, 2.31] * 30, *[0.9] * 3, 4.9, *[1.5] * 30)
    rates = tuple(1e-6 * 1.2**step for step in range(len(losses)))
    found = LrSweep(rates, losses, tuple(_trials._smoothed(list(losses))))
    assert rates[58] < found.suggestion < rates[64]


def test_no_rate_is_suggested_for_a_model_that_is_trained():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    fitted = trainer(model, optimizer=optimizer)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 4, generator=generator)
    y = torch.randint(0, 3, (4000,), generator=generator)
    loader = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 4000, 16)]
    fitted.fit(loader, max_epochs=3)
    found = fitted.find_lr(loader)
    assert found.suggestion is None


def test_losses_that_differ_from_batch_to_batch_have_not_blown_up():
    model = nn.Linear(1, 1, bias=False)
    loader = [torch.full((1, 1), float(value)) for value in (1, 0.01, 1, 0.02, 1)]
    found = trainer(model, loss=lambda model, x: bp.reduce((model(x) - 3 * x) ** 2)).find_lr(
        loader, high=1e-4
    )
    assert len(found.rates) == 100


def test_a_lowest_rate_that_is_too_high_is_named():
    model = nn.Linear(4, 1)
    x, _ = samples(64)
    with pytest.raises(
        bp.SettingError, match="the loss blew up after 2 steps from a learning rate"
    ):
        trainer(model, loss=bp.supervised(nn.MSELoss())).find_lr([(x, x[:, :1])], low=1e3, high=1e6)
