import dataclasses
import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from batchproof.recipes import Results, Settings, evaluate_run, train_recipe
from batchproof.recipes.lenet5 import in_28_by_28, lenet5, main

DEFAULTS = Settings(epochs=12, batch_size=64, lr=0.02)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Results, object]:
    """LeNet-5 with the defaults, on the embedded digits."""
    folder = tmp_path_factory.mktemp("runs") / "lenet5"
    return train_recipe("lenet5", folder, progress=False), folder


def test_it_has_the_parameters_of_the_paper_s_fully_connected_form():
    assert sum(p.numel() for p in lenet5().parameters()) == 61_706
    assert lenet5()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_small_images_are_enlarged_into_a_frame():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    framed = in_28_by_28(images)
    assert framed.shape == (1, 1, 28, 28)
    assert framed.dtype == torch.uint8
    assert framed[:, :, 2:26:3, 2:26:3].equal(images)
    assert framed.long().sum() == 9 * images.long().sum()
    assert in_28_by_28(framed) is framed


def test_it_reads_97_of_100_embedded_digits(trained):
    results, _ = trained
    assert results.estimates["test"].samples == 360
    assert results.estimates["test"].metrics["accuracy"].value >= 0.96


def test_the_best_epoch_is_the_one_of_the_lowest_validation_mean(trained):
    results, _ = trained
    means = results.history.values("val_loss")
    assert len(means) == 12
    assert results.history.best.value == min(means)
    assert results.estimates["validation"].value == pytest.approx(min(means), rel=1e-6)


def test_a_loop_that_averages_batch_means_would_print_another_number(trained):
    results, _ = trained
    test = results.estimates["test"]
    assert abs(test.mean_of_batch_means / test.value - 1) > 0.01


def test_the_number_comes_from_the_run_folder_alone(trained):
    results, folder = trained
    again = evaluate_run(folder)
    assert again.history is None
    for name, found in results.estimates.items():
        assert again.estimates[name] == found


def test_the_run_folder_names_the_recipe_and_its_options(trained):
    _, folder = trained
    info = json.loads((folder / "config.json").read_text())["info"]
    assert info["recipe"] == "lenet5"
    assert info["options"] == {"momentum": 0.9, "weight_decay": 5e-4, "held_out": 0.1}
    assert info["settings"]["lr"] == 0.02


def test_an_accumulation_window_is_one_batch():
    short = {"epochs": None, "max_steps": 6}
    whole, cut = (
        main(
            dataclasses.replace(
                DEFAULTS, **short, batch_size=size, accumulate=accumulate, progress=False
            )
        )
        for size, accumulate in ((64, 1), (16, 4))
    )
    assert whole.history.last("train_loss").value == pytest.approx(
        cut.history.last("train_loss").value, rel=1e-5
    )
    assert whole.estimates["test"].value == pytest.approx(cut.estimates["test"].value, rel=1e-4)


def rates(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [r["total"] for r in records if r["name"] == "lr" and r["span"] == "epoch"]


class Stopping:
    """A logger at whose third record the user presses Ctrl-C."""

    def __init__(self):
        self.seen = 0

    def log(self, values, step):
        del values, step
        self.seen += 1
        if self.seen == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_schedule_keeps_its_end_when_a_run_is_resumed(
    batchproof, unchecked, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "stopping", SimpleNamespace(logger=Stopping()))
    short = ("train", "lenet5", "--limit-train-batches", 2, "--epochs", 4)
    assert batchproof(*short, "--out", "whole").status == 0
    cut = batchproof(*short, "--out", "cut", "--logger", "stopping:logger")
    assert cut.status == 130
    assert cut.last_line.startswith("batchproof: interrupted by SIGINT after step ")
    goes_on = ("train", "lenet5", "--out", "cut", "--resume")
    for longer in (("--epochs", 5), ("--max-steps", 9)):
        refused = batchproof(*goes_on, *longer)
        assert refused.status == 2
        assert "whose schedule ends at step 8, before step" in refused.last_line
    whole = rates(tmp_path / "whole")
    assert batchproof(*goes_on, "--epochs", 3).status == 0
    assert rates(tmp_path / "cut") == whole[:3]
    assert batchproof(*goes_on).status == 0
    assert rates(tmp_path / "cut") == whole
    assert len(whole) == 4


@pytest.mark.slow
def test_mnist_is_learned_to_97_of_100_in_one_epoch(data):
    settings = dataclasses.replace(DEFAULTS, data=data / "mnist", epochs=1, progress=False)
    test = main(settings).estimates["test"]
    assert test.samples == 10_000
    assert test.metrics["accuracy"].value >= 0.97
