"""The weighted mean of a loss in Keras, with torch as backend."""

import os

import numpy as np
import pytest
import torch

from batchproof import SettingError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")

from batchproof.integrations.keras import ExactLoss  # noqa: E402

# Keras hands tensors to NumPy by the protocol of NumPy 1
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DRAW = np.random.default_rng(0)
INPUTS, TARGETS = DRAW.normal(size=(11, 3)).astype("float32"), DRAW.normal(size=(11, 1))
WEIGHTS = DRAW.random(11).astype("float32") * 5


def model_of(rate=0.0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        weighted_metrics=[ExactLoss("mean_squared_error")],
    )
    return model


def whole(model):
    squares = (model.predict(INPUTS, verbose=0).astype("float64") - TARGETS)[:, 0] ** 2
    return float((squares * WEIGHTS).sum() / WEIGHTS.sum())


@pytest.mark.parametrize("size", [1, 4, 11])
def test_an_evaluation_is_one_number_at_every_batch_size(size):
    model = model_of()
    found = model.evaluate(INPUTS, TARGETS, size, 0, sample_weight=WEIGHTS, return_dict=True)
    assert found["exact_loss"] == pytest.approx(whole(model), rel=1e-6)
    if size < 11:
        assert abs(found["loss"] - whole(model)) > 1e-3


def test_a_whole_training_keeps_the_best_by_it(tmp_path):
    model = model_of(0.05)
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5",
        monitor="val_exact_loss",
        mode="min",
        save_best_only=True,
        save_weights_only=True,
    )
    history = model.fit(
        INPUTS,
        TARGETS,
        batch_size=4,
        epochs=3,
        sample_weight=WEIGHTS,
        validation_data=(INPUTS, TARGETS, WEIGHTS),
        callbacks=[best],
        verbose=0,
    ).history
    assert history["val_exact_loss"][-1] == pytest.approx(whole(model), rel=1e-6)
    model.load_weights(tmp_path / "best.weights.h5")
    assert whole(model) == pytest.approx(min(history["val_exact_loss"]), rel=1e-6)


def test_losses_of_positions_are_weighed_by_their_samples_and_zero_weight_hides_nan():
    metric = ExactLoss(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    targets = torch.tensor([[0, 1, 2], [3, 2, 1]])
    metric.update_state(targets, logits, torch.tensor([1.0, 3.0]))
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    expected = (losses.sum(1) * torch.tensor([1.0, 3.0])).sum() / 12
    assert metric.result().item() == pytest.approx(expected.item(), rel=1e-6)
    logits[1] = float("nan")
    metric.reset_state()
    metric.update_state(targets, logits, torch.tensor([1.0, 0.0]))
    assert metric.result().item() == pytest.approx(losses[0].mean().item(), rel=1e-6)


def test_masked_positions_do_not_count():
    metric = ExactLoss("sparse_categorical_crossentropy")
    chances = torch.full((1, 3, 4), 0.25)
    chances[0, 2] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    vars(chances)["_keras_mask"] = torch.tensor([[True, True, False]])
    metric.update_state(torch.tensor([[0, 1, 2]]), chances)
    assert metric.result().item() == pytest.approx(np.log(4), rel=1e-5)


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(SettingError, match="Keras runs on jax; expected torch"):
        ExactLoss("mean_squared_error")
