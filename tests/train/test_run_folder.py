import csv
import json
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import batchproof as bp
from batchproof.train import RunFolder
from batchproof.train._checkpoints import _folder
from batchproof.train._outputs import _log
from small_runs import batches, classifier, criterion, samples, trainer


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "deep" / "run"
    trainer(run_dir=folder, log_every=2, seed=4, config={"width": 6}, info={"note": "n"}).fit(
        batches(20), batches(9), max_epochs=2
    )
    return folder


def test_every_record_is_a_pair_with_its_place_and_unit(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert {"step", "epoch", "name", "total", "weight", "unit", "span"} <= line.keys()
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "grad_norm"} == {
        line["name"] for line in lines
    }
    val = [line for line in lines if line["name"] == "val_loss"]
    assert [(line["step"], line["epoch"], line["weight"], line["samples"]) for line in val] == [
        (3, 1, 9.0, 9),
        (6, 2, 9.0, 9),
    ]
    assert all(line["standard_error"] > 0 for line in val)


def test_the_table_holds_what_the_log_holds(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["name"], float(r["total"])) for r in rows] == [
        (line["name"], line["total"]) for line in lines
    ]


def test_the_configuration_tells_how_the_run_was_made(run):
    config = RunFolder(run).config
    identity, environment = config["identity"], config["environment"]
    assert identity["settings"]["log_every"] == 2
    assert identity["settings"]["deterministic"] is False
    assert identity["config"] == {"width": 6}
    assert identity["optimizer"]["groups"][0]["momentum"] == 0.9
    assert len(identity["first batch"]) == 16
    assert (config["seed"], config["info"]) == (4, {"note": "n"})
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["command"]


def test_the_best_weights_give_the_best_mean_from_the_folder_alone(run):
    model = classifier(seed=8)
    model.load_state_dict(RunFolder(run).weights("best"))
    found = bp.evaluate(model, batches(9), criterion())
    assert found.value == RunFolder(run).best().value
    assert found.value == min(r.value for r in RunFolder(run).records() if r.name == "val_loss")


def test_checkpoints_hold_no_code(run):
    assert set(load_file(run / "last" / "weights.safetensors")) == set(classifier().state_dict())
    state = torch.load(run / "last" / "state.pt", weights_only=True)
    assert state["position"] == {"epoch": 2, "step": 6, "batch": 0}


def test_nothing_half_written_is_left(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "best",
        "config.json",
        "last",
        "metrics.csv",
        "metrics.jsonl",
        "previous",
        "timing.jsonl",
    ]
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_run_folder_is_never_overwritten(run):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    with pytest.raises(bp.RunFolderError, match="exists already and is never overwritten"):
        trainer(run_dir=run).fit(batches(), max_epochs=1)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before


def test_an_empty_folder_is_taken(tmp_path):
    trainer(run_dir=tmp_path).fit(batches(8), max_epochs=1)
    assert RunFolder(tmp_path).records()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(bp.RunFolderError, match=r"cannot make .*choose a place"):
        trainer(run_dir=tmp_path / "file" / "run").fit(batches(), max_epochs=1)


def test_bad_data_leaves_no_folder(tmp_path):
    x, y = samples()
    y[7] = 3
    with pytest.raises(bp.DataError, match="sample 7 has label 3; expected 0 to 2"):
        trainer(run_dir=tmp_path / "run").fit([(x, y)], max_epochs=1)
    assert not list(tmp_path.iterdir())


def test_tied_weights_and_channels_last_and_extra_state_come_back(tmp_path):
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"scale": 3, "name": "tied"}

        def set_extra_state(self, state):
            self.seen = state

    model = nn.Sequential(Extra(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
    model[2].weight = model[0].weight
    trainer(model, run_dir=tmp_path / "run").fit(batches(), batches(), max_epochs=1)
    other = nn.Sequential(Extra(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
    other.load_state_dict(RunFolder(tmp_path / "run").weights("best"))
    ours, theirs = other.state_dict(), model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs if not n.endswith("extra_state"))
    assert other[0].seen == {"scale": 3, "name": "tied"}

    image = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    from batchproof.runs._weights import load_weights_file, save_weights

    state = {**image.state_dict(), "half": image.weight[:1], "bf16": torch.ones(2).bfloat16()}
    save_weights(state, tmp_path / "w")
    loaded = load_weights_file(tmp_path / "w")
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_damaged_best_is_refused_by_name(run):
    (run / "best" / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(bp.CheckpointError, match=r"best/weights.safetensors was cut short or"):
        RunFolder(run).weights("best")


def test_a_run_without_validation_has_no_best(tmp_path):
    history = trainer(run_dir=tmp_path / "run").fit(batches(), max_epochs=1)
    assert history.best is None
    assert history.best_state() is None
    assert RunFolder(tmp_path / "run").best() is None
    with pytest.raises(bp.CheckpointError, match=r"has no best weights, .*run/last can be used"):
        RunFolder(tmp_path / "run").weights("best")


def test_files_are_readable_by_whom_the_umask_lets_read_them(tmp_path):
    before = os.umask(0o027)
    try:
        trainer(run_dir=tmp_path / "run", ema=0.5).fit(batches(), batches(), max_epochs=1)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"weights.safetensors", "averaged.safetensors"} <= {path.name for path in files}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}


def abandoned(folder):
    folder.mkdir()
    (folder / "config.json").touch()
    (folder / ".lock").touch()
    return folder


def test_what_a_killed_start_left_is_removed_by_the_next(tmp_path):
    left = [abandoned(tmp_path / ".run.123.draft"), tmp_path / ".run.124.draft"]
    left[1].mkdir()
    others = [abandoned(tmp_path / ".other.123.draft"), abandoned(tmp_path / ".run.x.draft")]
    trainer(run_dir=tmp_path / "run").fit(batches(), max_epochs=1)
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "run", *others])


def test_the_draft_of_a_run_that_begins_is_left_alone(tmp_path):
    draft = abandoned(tmp_path / ".run.123.draft")
    lock = _log.locked(draft)
    trainer(run_dir=tmp_path / "run").fit(batches(), max_epochs=1)
    assert (draft / "config.json").exists()
    lock.release()


def test_of_two_runs_that_begin_at_once_the_later_one_says_that_the_folder_is_taken(tmp_path):
    run = tmp_path / "run"

    real = _folder.expect_free
    calls = []

    def only_before(folder):
        calls.append(folder)
        if len(calls) == 1:
            # another run takes the folder after the last look at it
            trainer(run_dir=run).fit(batches(), max_epochs=1)
        else:
            real(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_folder, "expect_free", only_before)
        with pytest.raises(bp.RunFolderError, match="run exists already and is never overwritten"):
            trainer(run_dir=run).fit(batches(), max_epochs=1)
    assert RunFolder(run).records()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_training(tmp_path):
    run = tmp_path / os.fsdecode(b"run-\xff")
    with pytest.raises(bp.SettingError, match="whose name is not UTF-8"):
        trainer(run_dir=run).fit(batches(), max_epochs=1)
    assert not list(tmp_path.iterdir())
