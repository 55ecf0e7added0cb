"""Outputs in the order of the data, and the weights of a run in a model."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import batchproof as bp
import rank_processes
import rank_training
from batchproof.train import load_model, predict
from small_runs import batches, classifier, samples, trainer


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_outputs_are_those_of_the_whole_data_in_its_order(batch_size):
    model = classifier()
    model.append(nn.Dropout())
    x, y = samples()
    outputs = trainer(model).predict(DataLoader(TensorDataset(x, y), batch_size=batch_size))
    model.eval()
    torch.testing.assert_close(outputs, model(x).detach())
    assert not outputs.requires_grad
    model.train()
    assert torch.equal(predict(model, x.split(batch_size)), outputs)
    assert model.training


def test_outputs_are_those_of_the_averaged_weights_and_of_a_call_of_ones_own():
    fitted = trainer(ema=0.5)
    history = fitted.fit(batches(16), batches(9), max_epochs=2)

    def forward(model, batch):
        return {"classes": model(batch["x"]).argmax(1), "rows": (batch["x"][:, 0],)}

    x, _ = samples(9)
    loader = [{"x": part} for part in x.split(4)]
    outputs = fitted.predict(loader, forward)
    assert torch.equal(outputs["rows"][0], x[:, 0])
    averaged = classifier()
    averaged.load_state_dict(history.best_state())
    assert history.best.epoch == 2
    assert torch.equal(outputs["classes"], averaged(x).argmax(1))


def test_what_cannot_be_predicted_is_refused_in_one_line():
    model, (x, y) = nn.Identity(), samples(9)
    shuffled = DataLoader(TensorDataset(x, y), batch_size=2, shuffle=True)
    for loader in (shuffled, batches(9, shuffle=True)):
        with pytest.raises(bp.SettingError, match="shuffles, so outputs would not be in the order"):
            predict(model, loader)
    with pytest.raises(bp.SettingError, match="the batch is a dict; expected a tensor or"):
        predict(model, [{"x": x}])
    with pytest.raises(bp.ShapeError, match=r"have shapes \(2, 4\) and \(2, 3\); expected \(samp"):
        predict(model, [torch.zeros(2, 4), torch.zeros(2, 3)])
    with pytest.raises(bp.ShapeError, match=r"have shapes \(\); expected \(samples, ...\)"):
        predict(model, [x], lambda model, batch: batch.sum())
    with pytest.raises(bp.SettingError, match="the model returned a str; expected tensors"):
        predict(model, [x], lambda model, batch: "text")
    with pytest.raises(bp.DataError, match="the loader gave no batch"):
        predict(model, [])


@pytest.mark.ranks
@pytest.mark.parametrize("world", [2, 3])
def test_outputs_over_ranks_of_unequal_size_are_in_the_order_of_the_data(tmp_path, world):
    for seen in rank_processes.run("rank_training:predicted", world, tmp_path):
        said = seen.pop("uneven")
        sizes = ", ".join(str(1 + 3 * rank) for rank in range(world))
        assert said.startswith(f"ranks gave outputs of {sizes} samples, which they did not draw in")
        for name, outputs in seen.items():
            x, _ = rank_training.samples(int(name.split()[1]))
            expected = rank_training.model_of("bare")(x).detach()
            torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_a_run_is_loaded_in_one_line(tmp_path):
    run = tmp_path / "run"
    history = trainer(run_dir=run, lr=1.0, keep_every_steps=2).fit(
        batches(16), batches(9), max_epochs=3
    )
    model = load_model(run, classifier(5))
    assert not model.training
    fresh = trainer(classifier(6))
    assert fresh.evaluate(batches(9)).value != history.best.value
    fresh.load(run)
    assert fresh.evaluate(batches(9)).value == history.best.value
    again = trainer(model)
    assert again.evaluate(batches(9)).value == history.best.value
    fresh.load(str(run), 2)
    assert fresh.evaluate(batches(9)).value == history.values("val_loss")[0]


@pytest.mark.usefixtures("unchecked")
def test_weights_of_another_model_are_refused_in_one_line(tmp_path):
    run = tmp_path / "run"
    trainer(run_dir=run).fit(batches(16), batches(9), max_epochs=1)
    text = r"run does not fit Linear \(Missing key\(s\) in state_dict: .*\); build the model as"
    with pytest.raises(bp.CheckpointError, match=text):
        load_model(run, nn.Linear(4, 3))
    with pytest.raises(bp.RunFolderError, match="holds no run"):
        trainer().load(tmp_path)
    with pytest.raises(bp.SettingError, match="which is 'bets'; expected 'best', 'last', or"):
        trainer().load(run, "bets")  # type: ignore[arg-type]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_the_gradient_of_the_mean_is_clipped_by_value(accumulate, kind):
    x, y = samples(24)
    model, plain = classifier(), classifier()
    fitted = trainer(model, optimizer=kind(model.parameters(), 0.1), **clip(accumulate))
    fitted.fit([(x[i::accumulate], y[i::accumulate]) for i in range(accumulate)], max_epochs=3)
    optimizer = kind(plain.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(x), y).backward()
        nn.utils.clip_grad_value_(plain.parameters(), 0.01)
        optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def clip(accumulate):
    return {"accumulate": accumulate, "max_grad_value": 0.01}


def test_a_clip_that_cannot_be_made_is_refused():
    with pytest.raises(
        bp.SettingError, match=r"max_grad_value is 0\.0; expected a positive number"
    ):
        trainer(max_grad_value=0.0)
    model = classifier()
    lbfgs = torch.optim.LBFGS(model.parameters())
    with pytest.raises(bp.SettingError, match="max_grad_value is given beside LBFGS"):
        trainer(model, optimizer=lbfgs, max_grad_value=1.0)
