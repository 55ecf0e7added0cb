"""A Trainer over windows of a data set: the same weights whatever the cut, resumed, over ranks."""

import json

import pytest
import torch

import batchproof as bp
import rank_processes
from batchproof.report import write_report
from ragged_training import SIZES, fitted, flat, loss, trainer_of, windows


def test_the_budget_changes_neither_the_numbers_nor_the_weights():
    small, one = fitted(train=windows(tokens=9))
    large, other = fitted(train=windows(tokens=500))
    assert small.shapes != large.shapes
    assert one.values("train_loss") == pytest.approx(other.values("train_loss"), rel=1e-12)
    assert one.values("val_loss") == pytest.approx(other.values("val_loss"), rel=1e-12)
    torch.testing.assert_close(flat(small), flat(large), rtol=1e-12, atol=1e-12)


def test_an_evaluation_over_windows_is_that_over_batches():
    model, _ = fitted()
    whole = next(iter(windows(samples=100, tokens=None, rows=100, shuffle=False)))
    expected = bp.evaluate(model, list(whole), loss)
    estimate = bp.evaluate(model, windows(), loss)
    assert estimate.value == pytest.approx(expected.value, rel=1e-12)
    assert estimate.samples == len(SIZES)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_run_resumes_within_an_epoch(tmp_path, steps):
    options = {"checkpoint_every_steps": 1, "log_every": 1}
    model, whole = fitted(tmp_path / "whole", **options)
    fitted(tmp_path / "half", max_steps=steps, **options)
    resumed, rest = fitted(tmp_path / "half", resume=True, **options)
    assert torch.equal(flat(model), flat(resumed))
    by_step = [r for r in whole.records if r.span == "steps" and r.step > steps]
    again = [r for r in rest.records if r.span == "steps" and r.step > steps]
    assert again == by_step
    assert rest.records[-4:] == whole.records[-4:]
    lines = [json.loads(line) for line in (tmp_path / "half/timing.jsonl").read_text().splitlines()]
    # only the seconds since then are known of the epoch that was resumed
    timed = ["positions_per_second" in line for line in lines if "step_seconds" in line]
    assert timed.count(False) == (steps != 3)


def test_padding_and_positions_a_second_are_in_the_log(tmp_path):
    _, history = fitted(tmp_path / "run", log_every=2)
    padding, before = history.epochs("train_padding"), history.epochs("train_padding_before")
    assert [r.weight - r.total for r in padding] == [sum(SIZES)] * 2
    assert [r.weight - r.total for r in before] == [sum(SIZES)] * 2
    assert all(a.value < b.value for a, b in zip(padding, before, strict=True))
    steps = [r for r in history.records if r.name == "train_padding" and r.span == "steps"]
    assert len(steps) == 3
    lines = [json.loads(line) for line in (tmp_path / "run/timing.jsonl").read_text().splitlines()]
    assert all(line["positions_per_second"] > 0 for line in lines if "step_seconds" in line)


def test_the_report_shows_padding_and_positions_a_second(tmp_path):
    _, history = fitted(tmp_path / "run")
    page = write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    shares = [history.epochs(f"train_padding{when}")[-1].value for when in ("_before", "")]
    told = "run: {:.0%} of the positions were padding in the order given, and {:.0%} as they were"
    assert told.format(*shares) in page
    assert "positions per second" in page


def test_the_line_before_training_says_how_much_is_padding():
    class Heard(bp.train.Callback):
        def __init__(self):
            self.said = []

        def on_notice(self, text):
            self.said.append(text)

    heard = Heard()
    fitted(callbacks=[heard])
    (line,) = [text for text in heard.said if text.startswith("first batch")]
    assert "padding 10% of the first step's 50 positions, 36% in the order given" in line


@pytest.mark.parametrize(
    ("train", "options", "words"),
    [
        (windows(), {"tokens": 9}, "the training data give windows already; leave accumulate"),
        (windows(), {"accumulate": 2}, "the training data give windows already; leave accumulate"),
        (bp.windows([1], 2), {}, "the training data are windows of a loader; hand fit the loader"),
    ],
)
def test_what_is_windows_already_is_not_cut_again(train, options, words):
    with pytest.raises(bp.SettingError, match=words):
        fitted(train=train, **options)
    with pytest.raises(bp.SettingError, match="the loader gives windows already"):
        bp.windows(train)


def test_a_learning_rate_is_sought_over_windows():
    model, _ = fitted()
    before = flat(model)
    assert len(trainer_of(model).find_lr(windows(), steps=5).losses) == 5
    assert torch.equal(flat(model), before)
    assert "one step" in trainer_of(model).dry_run(windows())


@pytest.mark.gpu
def test_a_device_gets_windows_with_what_they_know():
    model, history = fitted()
    there, on_device = fitted(device="cuda")
    torch.testing.assert_close(flat(there).cpu(), flat(model), rtol=1e-10, atol=1e-10)
    names = ("train_padding", "train_padding_before", "train_loss", "val_loss")
    for name in names:
        assert on_device.values(name) == pytest.approx(history.values(name), rel=1e-10)


@pytest.mark.ranks
def test_two_ranks_share_windows_and_take_the_same_steps(tmp_path):
    model, history = fitted()
    by_rank = rank_processes.run("ragged_training:over_ranks", 2, tmp_path)
    for seen in by_rank:
        for found in seen.values():
            torch.testing.assert_close(found["weights"], flat(model), rtol=1e-11, atol=1e-11)
        padding, _, val, train = seen["trainer"]["numbers"]
        assert val == pytest.approx([r.total for r in history.epochs("val_loss")], rel=1e-12)
        assert train == pytest.approx([r.total for r in history.epochs("train_loss")], rel=1e-12)
        # the padding of all ranks
        assert padding == by_rank[0]["trainer"]["numbers"][0]
    assert all(seen["trainer"]["passes"] < len(model.shapes) for seen in by_rank)


@pytest.mark.ranks
def test_ranks_that_would_plan_other_cuts_are_refused(tmp_path):
    by_rank = rank_processes.run("ragged_training:apart", 2, tmp_path)
    assert by_rank[0]["error"].startswith("tokens is 20 on rank 0 and 21 on rank 1")
    assert by_rank[1]["error"].startswith("tokens is 21 on rank 1 and 20 on rank 0")
