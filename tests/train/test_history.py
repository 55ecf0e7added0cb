import math

import pytest

import batchproof as bp
from batchproof.train import History, Record


def record(epoch, value, error=None, name="val_loss", span="epoch"):
    return Record(10 * epoch, epoch, name, 4 * value, 4.0, "element", span, 4, error)


def test_the_best_and_the_runner_up_are_compared_by_their_standard_errors():
    near = History(records=[record(1, 1.0, 0.1), record(2, 0.9, 0.1), record(3, 2.0, 0.1)])
    assert (near.choice.best.epoch, near.choice.runner_up.epoch) == (2, 1)
    assert near.choice.apart is False
    assert "differ by no more than their standard errors" in str(near)
    far = History(records=[record(1, 1.0, 0.01), record(2, 0.9, 0.01)])
    assert far.choice.apart is True
    assert "they differ by more than their standard errors" in str(far)


def test_without_standard_errors_nothing_is_said_about_chance():
    history = History(records=[record(1, 1.0), record(2, 0.9)])
    assert history.choice.apart is None
    assert History(records=[record(1, 1.0)]).choice.runner_up is None


def test_the_largest_is_best_where_mode_is_max():
    history = History(mode="max", records=[record(1, 1.0), record(2, 0.9)])
    assert history.best.epoch == 1


def test_a_table_has_one_row_an_epoch_and_leaves_out_steps_and_settings():
    rows = History(
        records=[
            record(1, 5.0, name="train_loss", span="steps"),
            record(1, 2.0, name="train_loss"),
            record(1, 1.0),
            Record(10, 1, "lr", 0.1, 1.0, "step", "epoch"),
            record(2, 0.5),
        ]
    ).table()
    assert rows == [
        {"epoch": 1, "step": 10, "train_loss": 2.0, "val_loss": 1.0},
        {"epoch": 2, "step": 20, "val_loss": 0.5},
    ]


def test_a_name_that_was_not_recorded_is_refused_with_those_that_were():
    with pytest.raises(bp.SettingError, match="nothing named 'val_f1' was recorded; there is val_"):
        History(records=[record(1, 1.0)]).last("val_f1")


def test_a_record_survives_its_line():
    for each in (record(1, 1.5, 0.25), Record(3, 1, "a", math.inf, 1.0, "element", "steps")):
        back = Record.from_json(each.to_json())
        assert back.to_json() == each.to_json()
    assert math.isnan(Record(3, 1, "a", 0.0, 0.0, "element", "steps").value)
