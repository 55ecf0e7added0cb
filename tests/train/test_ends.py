"""Runs that end at or within an epoch and are resumed with a later end."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from batchproof.train import Callback
from small_runs import samples, trainer


class Finite(IterableDataset):
    """Samples whose number nobody knows."""

    def __iter__(self):
        return zip(*samples(40), strict=True)


def stream():
    return DataLoader(Finite(), batch_size=8)


def sized():
    return DataLoader(TensorDataset(*samples(40)), batch_size=8, shuffle=True)


class Counts(Callback):
    """Counts steps, validations and epochs; a checkpoint keeps the counts."""

    def __init__(self):
        self.events = {}

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    def on_step(self, position, result):
        self.count("step")

    def on_validation(self, position, records):
        self.count("validation")

    def on_epoch(self, position, history):
        self.count("epoch")

    def state_dict(self):
        return self.events

    def load_state_dict(self, state):
        self.events = state


class Asks(Callback):
    """Asks to stop after a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, position, result):
        return "enough" if position.step == self.step else None


class Late(Callback):
    """Sets the clock of max_time to its end after a step."""

    def __init__(self, step, monkeypatch):
        self.step, self.monkeypatch = step, monkeypatch

    def on_window(self, position, window):
        if position.step == self.step - 1:
            self.monkeypatch.setattr("time.monotonic", lambda: float("inf"))


SCHEDULES = {
    "StepLR": lambda optimizer: StepLR(optimizer, 1, gamma=0.5),
    "ReduceLROnPlateau": lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=1.0),
}


def fit(run, train, callbacks=(), *, schedule="StepLR", ends=None, resume=False, **options):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    options = {"run_dir": run, "seed": 2, "log_every": 2, "callbacks": list(callbacks), **options}
    fitted = trainer(
        model, optimizer=optimizer, scheduler=SCHEDULES[schedule](optimizer), **options
    )
    # every pass over the validation data draws from torch's generator
    val = DataLoader(TensorDataset(*samples(9, 3)), batch_size=4, shuffle=True)
    return fitted.fit(train(), val, resume=resume, **(ends or {"max_epochs": 3}))


@pytest.mark.parametrize("train", [stream, sized])
@pytest.mark.parametrize(
    ("stop", "schedule", "options"),
    [
        ("max_steps", "StepLR", {"patience": 2}),
        ("max_steps", "StepLR", {"validate_every_steps": 5}),
        ("max_steps", "ReduceLROnPlateau", {"monitor": "train_loss", "patience": 2}),
        ("max_time", "ReduceLROnPlateau", {"patience": 2}),
        ("callback", "ReduceLROnPlateau", {"validate_every_steps": 5}),
    ],
)
def test_a_run_that_ended_at_the_end_of_an_epoch_records_it_once(
    tmp_path, monkeypatch, train, stop, schedule, options
):
    options = {"schedule": schedule, **options}
    counts = Counts(), Counts()
    whole = fit(tmp_path / "whole", train, [counts[0]], **options)
    ends = {
        "max_steps": ({"max_steps": 5}, []),
        "max_time": ({"max_time": 1e6}, [Late(5, monkeypatch)]),
        "callback": ({"max_epochs": 3}, [Asks(5)]),
    }
    until, stops = ends[stop]
    ended = fit(tmp_path / "cut", train, [Counts(), *stops], ends=until, **options)
    monkeypatch.undo()
    assert ended.records[-1].step == 5
    resumed = fit(tmp_path / "cut", train, [counts[1]], resume=True, **options)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert counts[0].events == counts[1].events
    assert (resumed.best, resumed.stopped) == (whole.best, whole.stopped)


@pytest.mark.parametrize("train", [stream, sized])
@pytest.mark.parametrize(
    ("schedule", "options"),
    [("StepLR", {"validate_every_steps": 4}), ("ReduceLROnPlateau", {"patience": 2})],
)
@pytest.mark.parametrize("end", [3, 7])
def test_a_run_that_ended_within_an_epoch_has_only_those_records_besides(
    tmp_path, train, schedule, options, end
):
    options = {"schedule": schedule, **options}
    whole = fit(tmp_path / "whole", train, **options)
    fit(tmp_path / "cut", train, ends={"max_steps": end}, **options)
    resumed = fit(tmp_path / "cut", train, resume=True, **options)
    besides = [r for r in resumed.records if r.step == end and r.span == "epoch"]
    assert {record.name for record in besides} >= {"train_loss", "val_loss"}
    assert [record for record in resumed.records if record not in besides] == whole.records
