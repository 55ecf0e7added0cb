"""The weighted mean of a loss in Keras, with torch as backend."""

import os

import numpy as np
import pytest
import torch

from batchproof import CriterionError, MissingCountError, NonFiniteError, SettingError

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")

from batchproof.integrations.keras import ExactAccumulation, ExactLoss  # noqa: E402

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


KINDS = ("sum_over_batch_size", "mean_with_sample_weight")


def built(optimizer="sgd", reduction="sum_over_batch_size", clip=None, **settings):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((3,), dtype="float64"),
        keras.layers.Dense(
            1,
            dtype="float64",
            kernel_regularizer=keras.regularizers.L2(0.1),
        ),
    ]
    model = keras.Sequential(layers)
    kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[optimizer]
    loss = keras.losses.MeanSquaredError(reduction=reduction, dtype="float64")
    model.compile(kind(0.1, global_clipnorm=clip, **settings), loss)
    return model


def fit(model, size, epochs, *callbacks, validation=None):
    return model.fit(
        INPUTS.astype("float64"),
        TARGETS,
        batch_size=size,
        epochs=epochs,
        sample_weight=WEIGHTS.astype("float64"),
        shuffle=False,
        callbacks=[*callbacks],
        validation_data=validation,
        verbose=0,
    ).history


def gap(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


# 11 rows in batches of 2: windows of 4, 4 and 3 rows, the last one short by a batch of one
@pytest.mark.parametrize("reduction", KINDS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_training_by_accumulation_is_that_over_whole_windows(reduction, optimizer, clip):
    accumulates, whole_windows = (built(optimizer, reduction, clip) for _ in range(2))
    fit(accumulates, 2, 3, ExactAccumulation(2))
    fit(whole_windows, 4, 3)
    assert gap(accumulates, whole_windows) < 1e-6 * np.abs(whole_windows.get_weights()[0]).max()
    assert accumulates.optimizer.iterations.value.item() == 9


def test_keras_by_itself_trains_otherwise():
    own, whole_windows = built(gradient_accumulation_steps=2), built()
    fit(own, 2, 3)
    fit(whole_windows, 4, 3)
    assert gap(own, whole_windows) > 1e-3


def test_the_last_window_is_stepped_before_the_validation():
    validation = (INPUTS.astype("float64"), TARGETS)
    accumulates, whole_windows = built(), built()
    ours = fit(accumulates, 2, 2, ExactAccumulation(3), validation=validation)["val_loss"]
    own = fit(whole_windows, 6, 2, validation=validation)["val_loss"]
    assert ours == pytest.approx(own, rel=1e-5)


def test_a_training_goes_on_from_a_saved_model(tmp_path):
    first, whole_windows = built("adam"), built("adam")
    fit(first, 2, 1, ExactAccumulation(2))
    first.save(tmp_path / "half.keras")
    second = keras.models.load_model(tmp_path / "half.keras")
    fit(second, 2, 2, ExactAccumulation(2))
    fit(whole_windows, 4, 3)
    assert gap(second, whole_windows) < 1e-6


def test_masked_positions_weigh_nothing():
    draw = np.random.default_rng(1)
    tokens = draw.integers(1, 5, (6, 4))
    for row, length in enumerate([4, 1, 2, 4, 3, 1]):
        tokens[row, length:] = 0
    targets = draw.normal(size=(6, 4, 1))

    def trained(size, *callbacks):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.layers.Embedding(5, 3, mask_zero=True), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.fit(
            tokens, targets, batch_size=size, shuffle=False, callbacks=[*callbacks], verbose=0
        )
        return model

    assert gap(trained(1, ExactAccumulation(3)), trained(3)) < 1e-6
    assert gap(trained(1, ExactAccumulation(3)), trained(1)) > 1e-3


def test_what_cannot_accumulate_is_refused_before_the_weights_move():
    model = built(gradient_accumulation_steps=2)
    with pytest.raises(SettingError, match="gradient_accumulation_steps=2 beside"):
        fit(model, 2, 1, ExactAccumulation(2))
    with pytest.raises(SettingError, match="accumulate is 0"):
        ExactAccumulation(0)
    model = built(reduction="sum")
    before = model.get_weights()
    with pytest.raises(CriterionError, match="reduction='sum'; expected a mean"):
        fit(model, 2, 1, ExactAccumulation(2))
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    # the error leaves the model as it was
    assert "train_step" not in vars(model)
    assert "apply" not in vars(model.optimizer)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_of_nan_is_refused_before_the_weights_move(accumulate):
    model, before = built(), built().get_weights()
    inputs = INPUTS.astype("float64")
    inputs[1] = np.nan
    with pytest.raises(NonFiniteError, match="loss of this step is nan, so no step was taken"):
        model.fit(
            inputs,
            TARGETS,
            batch_size=2,
            shuffle=False,
            callbacks=[ExactAccumulation(accumulate)],
            verbose=0,
        )
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_losses_whose_weights_are_in_no_ratio_are_refused():
    inputs = keras.layers.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, outputs)
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    model.compile("sgd", {"a": loss, "b": loss})
    before = model.get_weights()
    with pytest.raises(MissingCountError, match="weights in one ratio"):
        model.fit(
            INPUTS,
            {"a": TARGETS, "b": TARGETS},
            batch_size=2,
            sample_weight={"a": WEIGHTS, "b": WEIGHTS[::-1].copy()},
            callbacks=[ExactAccumulation(2)],
            verbose=0,
        )
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
