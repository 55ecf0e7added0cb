"""Options are written once: by their own names, or in the values that hold them."""

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import get_type_hints

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof.train import Compute, Limits, Saving, Stopping, _options
from small_runs import batches, classifier, criterion


def test_every_option_of_a_value_may_be_given_by_its_own_name():
    hints = {
        name: hint
        for kind in _options.VALUES.values()
        for name, hint in get_type_hints(kind).items()
    }
    assert get_type_hints(_options.Keywords) == hints


def test_every_option_is_documented_where_it_is_written():
    for kind in _options.VALUES.values():
        for field in fields(kind):
            assert f"        {field.name}: " in inspect.getsource(kind), field.name


def made(**options):
    model = classifier()
    return bp.Trainer(model, criterion(), torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_values_and_names_mean_the_same():
    by_name = made(patience=3, seed=1, device="cpu", limit_train_batches=2)
    by_value = made(
        stopping=Stopping(patience=3),
        compute=Compute(seed=1, device="cpu"),
        limits=Limits(limit_train_batches=2),
    )
    assert by_name.options == by_value.options


def test_an_option_that_is_given_twice_is_refused():
    with pytest.raises(bp.SettingError, match=r"patience is given beside stopping=Stopping\(...\)"):
        made(patience=3, stopping=Stopping())


def test_a_value_of_another_kind_is_refused(unchecked):
    with pytest.raises(
        bp.SettingError, match=r"stopping is 3; expected a batchproof.train.Stopping"
    ):
        made(stopping=3)


def test_a_name_that_is_no_option_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match="no option 'pacience'; did you mean patience"):
        made(pacience=3)


def test_a_value_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Saving().run_dir = "x"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loggers": "tensorboard"}, r"loggers is 'tensorboard'; expected a list, such as \['tens"),
        ({"callbacks": bp.train.Callback()}, "callbacks is Callback; expected a list"),
        ({"callbacks": None}, r"callbacks is None; expected a list, such as \[\]"),
        ({"progress": "yes"}, "progress is 'yes'; expected True, False, a rich Console"),
        ({"plot": 3}, "plot is 3; expected True, False, or the path of a PNG"),
        ({"patience": "3"}, "patience is '3'; expected 1 epoch or more"),
        ({"patience": True}, "patience is True; expected 1 epoch or more"),
        ({"min_delta": "small"}, "min_delta is 'small'; expected 0 or more"),
        ({"count": "all"}, "count is 'all'; expected a function"),
        ({"by": "labels"}, r"by is 'labels'; expected a function by\(batch\)"),
        ({"ema": "0.9"}, "ema is '0.9'; expected a decay"),
        ({"loggers": ["wanbd"]}, "logger is 'wanbd'; expected one of 'tensorboard', 'wandb'"),
    ],
)
def test_an_invalid_option_is_refused_when_the_trainer_is_made(options, text, unchecked):
    with pytest.raises(bp.SettingError, match=text):
        made(**options)


@pytest.mark.parametrize("loss", ["cross_entropy", None, 3])
def test_a_loss_that_cannot_be_called_is_refused_when_the_trainer_is_made(loss, unchecked):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        bp.SettingError, match=rf"loss is {loss!r}; expected a function loss\(model"
    ):
        bp.Trainer(model, loss, optimizer)
    with pytest.raises(
        bp.SettingError, match=rf"loss is {loss!r}; expected a function loss\(model"
    ):
        bp.evaluate(model, batches(), loss)


def test_a_trainer_shows_what_it_is_made_of():
    assert repr(made(patience=3, progress=False)) == (
        "Trainer(Sequential, supervised(CrossEntropyLoss(), metrics=['accuracy']), SGD, "
        "patience=3, progress=False)"
    )
    model = nn.Linear(1, 1)

    def loss(model, batch):
        return bp.reduce(model(batch))

    assert repr(bp.Trainer(model, loss, lambda weight: None)) == "Trainer(Linear, loss, <lambda>)"
    assert repr(bp.supervised(nn.functional.mse_loss)) == "supervised(mse_loss)"
