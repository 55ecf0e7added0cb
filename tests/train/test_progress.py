import io
import itertools
import re

import torch
from rich.console import Console

from batchproof.train import LiveProgress, NoProgress, PlainProgress, Position, Record
from batchproof.train._outputs import _progress
from batchproof.train._outputs._progress import progress_on
from small_runs import batches, trainer

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
    assert lines[0].startswith("Sequential: 51 parameters (all trained, float32) in 2 Linear")
    assert "log(3 classes) is 1.099" in lines[1]
    assert lines[2].startswith("epoch 1/2  batch 2/5  train_loss ")
    assert re.match(r"epoch 1/2  train_loss .* val_loss \S+ ± \S+ .* s$", lines[4])
    # two about model and data; steps 2, 4, epoch 1; steps 6, 8, 10, epoch 2
    assert len(lines) == 9


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
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
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
