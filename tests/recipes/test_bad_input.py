"""What every recipe is given wrongly: one line, status 2, nothing left behind."""

import gzip
import json
import shutil
import struct

import pytest

from batchproof.recipes import names

pytestmark = pytest.mark.usefixtures("unchecked")
RECIPES = names()
OF_FILES = sorted({*RECIPES} - {"grpo_toy"})


@pytest.fixture
def refused(batchproof, tmp_path):
    """Run a command that must be refused: one line, status 2, and no run folder."""

    def run(*arguments):
        ended = batchproof(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert ended.last_line.startswith("batchproof: ")
        assert "Traceback" not in ended.err
        assert not (tmp_path / "runs").exists()
        return ended.last_line

    return run


def test_an_unknown_recipe_names_the_known_ones(refused):
    assert f"no recipe 'resnet'; the recipes are {', '.join(RECIPES)}." in refused(
        "train", "resnet"
    )


@pytest.mark.parametrize("recipe", OF_FILES)
def test_a_data_folder_that_is_missing(refused, tmp_path, recipe):
    assert "does not exist" in refused("train", recipe, "--data", tmp_path / "gone")


@pytest.mark.parametrize("recipe", OF_FILES)
def test_a_data_folder_that_holds_nothing(refused, tmp_path, recipe):
    (tmp_path / "empty").mkdir()
    assert "missing" in refused("train", recipe, "--data", tmp_path / "empty")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_size_of_0(refused, recipe):
    assert "batch_size is 0; expected 1 or more" in refused("train", recipe, "--batch-size", 0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_folder_that_exists_already(batchproof, tmp_path, recipe):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("kept")
    ended = batchproof("train", recipe, "--out", "mine")
    assert ended.status == 2
    assert "mine exists already and is never overwritten" in ended.err
    assert (tmp_path / "mine" / "note").read_text() == "kept"


@pytest.mark.parametrize("recipe", ["lenet5", "softmax_regression"])
def test_a_run_folder_that_cannot_be_made(refused, tmp_path, recipe):
    (tmp_path / "file").write_text("")
    line = refused("train", recipe, "--out", "file/run", "--max-steps", 1)
    assert "file" in line


@pytest.mark.parametrize("recipe", ["char_lm", "sequence_regression", "tabular_weighted"])
def test_files_that_are_not_fetched(refused, tmp_path, recipe):
    line = refused("train", recipe, "--data", tmp_path, "--download")
    assert "download is not offered for these files; put them in DIR yourself, from https" in line


@pytest.mark.parametrize("held_out", [0.0, 1.0, -1.0])
def test_a_validation_split_that_leaves_nothing(refused, held_out):
    line = refused("train", "lenet5", "--held-out", held_out)
    assert f"held_out is {held_out}; expected a share between 0 and 1" in line


@pytest.mark.parametrize(
    ("recipe", "option", "value", "sentence"),
    [
        ("char_lm", "--width", 30, "width is 30; expected a multiple of 4"),
        ("char_lm", "--width", -4, "Invalid value for '--width'"),
        ("char_lm", "--context", 0, "Invalid value for"),
        ("char_lm", "--layers", 0, "Invalid value for"),
        ("grpo_toy", "--answers", 1, "Invalid value for"),
        ("grpo_toy", "--clip", -1, "Invalid value for"),
        ("grpo_toy", "--unit", "token", "Invalid value for"),
        ("lenet5", "--momentum", -0.5, "Invalid value for"),
        ("lenet5", "--weight-decay", -1, "Invalid value for"),
        ("sequence_regression", "--width", 0, "Invalid value for"),
        ("tabular_weighted", "--width", 0, "Invalid value for"),
    ],
)
def test_a_number_of_a_recipe_s_own_that_is_invalid(refused, recipe, option, value, sentence):
    assert sentence in refused("train", recipe, option, value)


def test_an_unknown_category(refused):
    line = refused("train", "tabular_weighted", "--by", "colour")
    assert "'colour' is not a category; expected one of region" in line


def idx(*shape: int, value: int = 0) -> bytes:
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = 1
    for n in shape:
        size *= n
    return header + bytes([value]) * size


def write_images(folder, *, samples=2, label=0):
    folder.mkdir()
    for kind in ("train", "t10k"):
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(idx(samples, 28, 28))
        (folder / f"{kind}-labels-idx1-ubyte").write_bytes(idx(samples, value=label))


def test_a_file_that_is_truncated_or_of_another_digest(refused, tmp_path):
    folder = tmp_path / "mnist"
    write_images(folder)
    assert "has md5" in refused("train", "lenet5", "--data", folder)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(idx(2, 28, 28)[:-5])
    assert "is truncated" in refused("train", "lenet5", "--data", folder)
    images.unlink()
    whole = gzip.compress(idx(2, 28, 28))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    assert "is truncated or not a gzip file" in refused("train", "lenet5", "--data", folder)


def test_labels_out_of_range_are_named_with_the_sample(refused, tmp_path):
    folder = tmp_path / "fashion"
    write_images(folder, label=11)
    line = refused("train", "softmax_regression", "--data", folder)
    assert "sample 0 has label 11; expected 0 to 9" in line


def test_an_empty_data_set(refused, tmp_path):
    folder = tmp_path / "fashion"
    write_images(folder, samples=0)
    assert "has no images" in refused("train", "softmax_regression", "--data", folder)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    from batchproof.recipes._catalogue import load
    from batchproof.recipes._session import _defaults, train

    folder = tmp_path_factory.mktemp("runs") / "table"
    main = load("tabular_weighted").main
    values = _defaults(main) | {"out": folder, "max_steps": 3, "progress": False}
    train(main, "tabular_weighted", values, {"max_steps"}, "batchproof train tabular_weighted")
    return folder


@pytest.fixture
def run(a_run, tmp_path):
    return shutil.copytree(a_run, tmp_path / "table")


def test_a_corrupt_checkpoint_is_named(refused, run):
    (weights,) = (run / "best").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-9])
    line = refused("evaluate", run)
    assert str(run / "best") in line


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lr", "0.5"], "--lr is 0.5 but the run in"),
        (["--batch-size", "7"], "--batch-size is 7 but the run in"),
        (["--width", "8"], "--width is 8 but the run in"),
        (["--seed", "1"], "--seed is 1 but the run in"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_named(refused, run, options, sentence):
    line = refused("train", "tabular_weighted", "--out", run, "--resume", *options)
    assert sentence in line
    assert f"leave {options[0]} out, or start a new run with --out." in line


def test_an_unusable_run_folder_is_refused_before_anything_is_read(refused, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("batchproof.data.load_digits", None)
    assert "file is not a folder" in refused("train", "lenet5", "--out", "file/run")
    assert "file exists already" in refused("train", "lenet5", "--out", "file")


def test_a_run_that_is_refused_leaves_no_folder(refused, tmp_path):
    refused("train", "lenet5", "--data", tmp_path / "gone")
    refused("train", "lenet5", "--data", tmp_path / "gone", "--out", "a/b")
    assert not list(tmp_path.iterdir())


def test_resuming_as_another_recipe_is_refused(refused, run):
    line = refused("train", "lenet5", "--out", run, "--resume")
    assert "was trained by tabular_weighted, not by lenet5" in line


def test_resuming_where_there_is_no_run_is_refused(refused, tmp_path):
    line = refused("train", "lenet5", "--resume")
    assert "there is no run runs/lenet5 to resume" in line
    line = refused("train", "lenet5", "--resume", "--out", tmp_path / "gone")
    assert "there is no run folder" in line


def test_a_run_of_a_script_asks_for_the_script(refused, run):
    config = json.loads((run / "config.json").read_text())
    config["info"]["recipe"] = "/home/me/mine.py"
    (run / "config.json").write_text(json.dumps(config))
    line = refused("evaluate", run)
    assert "was trained by the script /home/me/mine.py; to run it, give --script" in line


def test_evaluating_what_is_no_run_is_refused(refused, tmp_path):
    assert "there is no run folder" in refused("evaluate", tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "holds no run" in refused("evaluate", tmp_path / "empty")
