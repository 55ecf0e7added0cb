import math

import pytest
import torch

from batchproof import SettingError
from batchproof.recipes import Settings


def settings(**given) -> Settings:
    return Settings(**{"epochs": 3, **given})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"accumulate": -1}, "accumulate is -1; expected 1 or more"),
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"max_steps": 0}, "max_steps is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; expected less than 2\*\*63"),
        ({"limit_train_batches": -1}, "limit_train_batches is -1; expected 0 or more"),
        ({"lr": 0.0}, "lr is 0.0; expected a positive number"),
        ({"lr": math.nan}, "lr is nan; expected a positive number"),
        ({"lr": math.inf}, "lr is inf; expected a positive number"),
        ({"epochs": None}, "neither epochs nor max_steps is given"),
        ({"download": True}, "download was requested without a data folder"),
    ],
)
def test_a_number_that_is_invalid_is_refused(given, sentence):
    with pytest.raises(SettingError, match=sentence):
        settings(**given)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, 3 * 5),
        ({"accumulate": 2}, 3 * 3),
        ({"limit_train_batches": 4}, 3 * 4),
        ({"overfit_batches": 1}, 3 * 1),
        ({"limit_train_batches": 9}, 3 * 5),
        ({"max_steps": 7}, 7),
        ({"max_steps": 99}, 3 * 5),
        ({"max_steps": 99, "epochs": None}, 99),
    ],
)
def test_a_schedule_is_told_how_many_steps_training_takes(given, steps):
    assert settings(**given).steps(range(5)) == steps


def test_batches_are_drawn_by_the_seed():
    first, again, other = (
        [b[0].tolist() for b in settings(seed=seed).batches(torch.arange(200), shuffle=True)]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(number for batch in first for number in batch) == list(range(200))


def test_files_that_are_not_fetched_are_named_with_their_source(tmp_path):
    with pytest.raises(SettingError, match="put them in DIR yourself, from https://example"):
        settings(data=tmp_path, download=True).folder("https://example.org")
    assert settings(data=tmp_path).folder("https://example.org") == tmp_path


def test_a_logger_that_cannot_be_imported_is_refused():
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    with pytest.raises(SettingError, match="logger nowhere:log cannot be imported"):
        settings(logger=("nowhere:log",)).trainer(model, lambda model, batch: None, optimizer)
