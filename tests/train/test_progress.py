import io
import itertools
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

import batchproof as bp
from batchproof.train import LiveProgress, NoProgress, PlainProgress, Position, Record
from batchproof.train._outputs import _progress
from batchproof.train._outputs._progress import progress_on
from small_runs import batches, samples, trainer

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def console(*, terminal, width=100):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def test_whole_plain_lines_without_control_codes_where_there_is_no_terminal():
    out = console(terminal=False)
    trainer(progress=out, log_every=2).fit(batches(40), batches(9), max_epochs=2)
    text = out.file.getvalue()
    assert not CONTROL.search(text)
    lines = text.splitlines()
    assert text.endswith("\n")
    assert lines[0] == "data: train: 40 samples in 5 batches; val: 9 samples in 2 batches"
    assert lines[1].startswith("Sequential: 51 parameters (all trained, float32) in 2 Linear")
    assert "log(3 classes) is 1.099" in lines[2]
    assert lines[3].startswith("epoch 1/2  batch 2/5  train_loss ")
    assert re.match(r"epoch 1/2  train_loss .* val_loss \S+ ± \S+ .* s$", lines[5])
    # three about model and data; steps 2, 4, epoch 1; steps 6, 8, 10, epoch 2
    assert len(lines) == 10


def test_the_data_are_named_and_sized_in_every_run_and_the_layers_where_asked_for(tmp_path):
    run, text = tmp_path / "run", []
    for epochs in (1, 2):
        out = console(terminal=False)
        info = {"data": "digits"}
        trainer(run_dir=run, info=info, progress=out, summary=True).fit(
            batches(40), batches(9), max_epochs=epochs, resume=True
        )
        text.append(out.file.getvalue())
    for shown in text:
        assert "data: digits; train: 40 samples in 5 batches; val: 9 samples in 2 batches" in shown
    assert "0      Linear  (8, 6)          30\n" in text[0]
    assert "1      Tanh    (8, 6)           0\n" in text[0]


def test_a_line_every_so_many_steps():
    out = console(terminal=False)
    trainer(progress=out, log_every=3).fit(batches(80), max_epochs=1)
    steps = [line for line in out.file.getvalue().splitlines() if " batch " in f" {line}"]
    assert [line.split()[3] for line in steps if line.startswith("epoch")] == [
        "3/10",
        "6/10",
        "9/10",
    ]


def test_on_a_terminal_the_line_is_redrawn_at_most_ten_times_a_second(monkeypatch):
    now, reads = [0.0], []
    # its own clock: every other, such as that of a loader that waits for its workers, must go on
    monkeypatch.setattr(_progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    progress = LiveProgress(console(terminal=True))
    progress.begin_epoch(1, 2, 100)

    def read():
        reads.append(now[0])
        return {"train_loss": 1.0}

    for step in range(300):
        now[0] = step * 0.01
        progress.tick(Position(0, step, step), read)
    progress.close()
    # three seconds; the first at once
    assert reads[0] == 0.0
    assert len(reads) <= 31
    assert all(b - a > 0.099 for a, b in itertools.pairwise(reads))


def test_on_a_terminal_one_line_an_epoch_is_left():
    out = console(terminal=True)
    trainer(progress=out).fit(batches(40), batches(9), max_epochs=2)
    text = out.file.getvalue()
    assert "epoch 1/2  train_loss" in text
    assert "epoch 2/2  train_loss" in text


def test_a_line_longer_than_the_terminal_is_folded_between_its_items():
    out = console(terminal=True, width=60)
    progress = LiveProgress(out)
    progress.begin_epoch(12, 12, 100)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    records = [Record(1, 12, name, 1.0, 4.0, "sample", "epoch", 4, 0.0123) for name in names]
    progress.end_epoch(records, 3.25)
    assert out.file.getvalue().rpartition("epoch 12/12")[2].splitlines() == [
        "  train_loss 0.25 ± 0.01",
        "  train_accuracy 0.25 ± 0.01  val_loss 0.25 ± 0.01",
        "  val_accuracy 0.25 ± 0.01  3.2 s",
    ]


def test_what_suits_a_console_is_chosen():
    assert isinstance(progress_on(console(terminal=True)), LiveProgress)
    assert isinstance(progress_on(console(terminal=False)), PlainProgress)


def test_nothing_is_shown_where_nothing_is_asked_for(capfd):
    trainer(progress=False).fit(batches(8), max_epochs=1)
    assert capfd.readouterr() == ("", "")


def test_progress_of_ones_own_is_told():
    heard = []

    class Own(NoProgress):
        def tick(self, position, read):
            heard.append(read()["train_loss"])

    trainer(progress=Own()).fit(batches(16), max_epochs=1)
    assert len(heard) == 2
    assert all(torch.isfinite(torch.tensor(heard)))


def lines_drawn(width, names, *, validation=False):
    """The last line that a terminal of a width shows."""
    out = console(terminal=True, width=width)
    progress = LiveProgress(out)
    progress.begin_epoch(1, 12, 1949)
    if validation:
        progress.begin_validation(143)
    progress._next = 0.0
    progress.tick(Position(0, 5, 1200), lambda: dict.fromkeys(names, 0.31771))
    drawn = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.file.getvalue()))
    progress.close()
    return [line for line in drawn if line.strip()][-1]


MEANS = ["train_loss", "train_accuracy", "train_accuracy_of_rows"]


@pytest.mark.parametrize("width", [140, 100, 80, 60, 40])
@pytest.mark.parametrize("validation", [False, True])
def test_the_means_are_what_is_shortened_where_the_terminal_is_narrow(width, validation):
    line = lines_drawn(width, MEANS, validation=validation)
    assert len(line.rstrip()) <= width
    label = "epoch 1/12  validation" if validation else "epoch 1/12"
    assert line.startswith(f"{label} ━")
    assert ("1200/143" if validation else "1200/1949") in line
    assert ("train_accuracy_of_rows 0.3177" in line) == (width == 140)
    if width == 80 and not validation:
        assert line.rstrip().endswith("train_loss 0.3177  …")


def test_names_that_look_like_markup_are_shown_as_they_are():
    assert "[/acc] 0.3177" in lines_drawn(120, ["[/acc]"])


class Told(NoProgress):
    def __init__(self):
        self.ticked, self.recorded = [], []

    def tick(self, position, read):
        self.ticked.append(read()["train_loss"])

    def records(self, records):
        self.recorded.append(next(r.value for r in records if r.name == "train_loss"))


def test_a_mean_under_one_name_is_the_epochs_so_far_and_at_its_end():
    def loss(model, batch):
        return bp.reduce(batch + 0 * model(torch.ones(1, 4)).sum())

    def fit(progress):
        model = nn.Linear(4, 1)
        return trainer(model, loss=loss, progress=progress, log_every=4).fit(
            [torch.full((1,), float(value)) for value in range(1, 11)], max_epochs=2
        )

    told = Told()
    history = fit(told)
    so_far = [sum(range(1, n + 1)) / n for n in range(1, 11)]
    assert told.ticked == pytest.approx(so_far * 2)
    assert told.recorded == pytest.approx([so_far[3], so_far[7], so_far[1], so_far[5], so_far[9]])
    # the log's records are over the last steps, and say so
    steps = [r.value for r in history.records if r.span == "steps" and r.name == "train_loss"]
    assert steps[:2] == [2.5, 6.5]
    out = console(terminal=False)
    fit(out)
    shown = [float(value) for value in re.findall(r"train_loss ([0-9.]+)", out.file.getvalue())]
    assert shown[:3] == pytest.approx([2.5, 4.5, 5.5])


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield from zip(*samples(8), strict=True)


def test_it_is_said_when_validation_never_comes_on_a_stream():
    out = console(terminal=False, width=400)
    loader = torch.utils.data.DataLoader(Endless(), batch_size=4)
    history = trainer(patience=2, progress=out).fit(loader, batches(9), max_steps=5)
    assert len(history.epochs("val_loss")) == 1
    (notice,) = history.notices
    assert "validation comes when it ends, or when training does" in notice
    assert "limit_train_batches=N makes an epoch of N batches" in out.file.getvalue()
    limited = trainer(limit_train_batches=2).fit(loader, batches(9), max_steps=5)
    assert len(limited.epochs("val_loss")) == 3


def test_nothing_is_said_of_a_loader_that_says_where_an_epoch_ends():
    assert not trainer().fit(batches(16), batches(9), max_steps=3).notices
    assert not trainer().fit(list(batches(16)), max_steps=3).notices
